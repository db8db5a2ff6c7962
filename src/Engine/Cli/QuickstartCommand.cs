// quickstart: the main job on this machine. Four stages x two replicas as real processes over real QUIC, 64x narrower codes,
// the text of this repository; at a third of the way one peer is killed and later rejoins; a report ends it.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Model;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class QuickstartCommand
{
    const string SamplePrompt = "/// <summary>";

    public static Command Create()
    {
        ExampleCommand command = new("quickstart", "Train on this machine with eight peers, lose one, recover, and report.", "quickstart", "quickstart --steps 120 --json");
        Option<int> steps = new("--steps") { Description = "inner steps", DefaultValueFactory = _ => 60 };
        Option<int> stages = new("--stages") { Description = "stages", DefaultValueFactory = _ => 4 };
        Option<int> replicas = new("--replicas") { Description = "peers for each stage", DefaultValueFactory = _ => 2 };
        Option<string> to = new("--out") { Description = "run directory; empty: the next free one under runs/", DefaultValueFactory = _ => "" };
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[steps, stages, replicas, to, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            RunConfig config = new()
            {
                Data = RepositoryText(),
                Steps = parsed.GetValue(steps),
                Stages = parsed.GetValue(stages),
                Replicas = parsed.GetValue(replicas),
                Out = parsed.GetRequiredValue(to),
                Boundary = BoundaryKind.Anchored,
                Sequence = 128,
                MicrobatchSize = 2,
                Microbatches = 8,
                LearningRate = 3e-3,
            };
            return Run(ResolvedRun.From(config), new CommandOutput(parsed.GetValue(json)));
        });
        return command;
    }

    /// <summary>The text of the project's own repository: nothing needs downloading.</summary>
    static string[] RepositoryText()
    {
        string root = Environment.GetEnvironmentVariable("ORION_ROOT") ?? Environment.CurrentDirectory;
        return Directory.Exists(Path.Combine(root, "src", "Engine"))
            ? [Path.Combine(root, "src", "**", "*.cs"), Path.Combine(root, "docs", "**", "*.md")]
            : throw new ConfigurationException($"{root} is not the project's repository; run ./orion quickstart there, or `orion-engine train --data FILE`");
    }

    static int Run(ResolvedRun run, CommandOutput output)
    {
        RunConfig config = run.Config;
        using Interrupt interrupt = new(output.Text, "stopping; the last checkpoint stays");
        using LocalSwarm swarm = new(run, resumeFrom: null, output.Text);
        using ITrainingView view = output.IsTerminal ? new TerminalTrainingView(output.Text, TimeProvider.System) : new PlainTrainingView(output.Text, TimeProvider.System);
        List<(int Step, double Loss)> curve = [];
        List<double> seconds = [];
        int killAt = Math.Max(2, config.Steps / 3), rejoinAt = Math.Max(3, config.Steps / 2);
        int victim = config.Replicas > 1 ? swarm.Peers.Count / 2 : -1;
        TrainingOutcome outcome = swarm.Train(
            view,
            step =>
            {
                curve.Add((step.Step, step.Loss));
                seconds.Add(step.Seconds);
                if (step.Step == killAt && victim >= 0 && swarm.Peers[victim] is { } process)
                {
                    view.Note($"step {step.Step,6}  peer {victim} is killed (SIGKILL)");
                    process.Kill();
                    process.WaitForExit();
                }
                else if (step.Step == rejoinAt && victim >= 0)
                {
                    view.Note($"step {step.Step,6}  peer {victim} comes back with its old identity");
                    swarm.StartPeer(victim);
                }
            },
            interrupt.Token);
        if (outcome.Interrupted)
        {
            output.Text.WriteLine($"interrupted at step {outcome.Step}; go on with: orion-engine train --resume {outcome.Directory}");
            return ExitStatus.Interrupted;
        }

        Report(run, swarm, outcome, curve, seconds, victim < 0 ? [] : [new PlotMark(killAt, "a peer is killed"), new PlotMark(rejoinAt, "it rejoins")], output);
        return ExitStatus.Done;
    }

    static void Report(
        ResolvedRun run, LocalSwarm swarm, TrainingOutcome outcome, List<(int Step, double Loss)> curve, List<double> seconds, PlotMark[] marks, CommandOutput output)
    {
        TextWriter text = output.Text;
        PlotCurve loss = new("training loss", curve);
        string svg = Path.Combine(outcome.Directory, "loss.svg");
        File.WriteAllText(svg, LossPlot.Svg($"{run.Config.Stages} stages x {run.Config.Replicas} replicas, {run.Model.Width / Math.Max(1, run.Model.CodeWidth)}x narrower codes", [loss], marks));
        text.WriteLine();
        text.Write(LossPlot.Text(loss));

        CodePayload payload = CodePayload.Of(run.Model, run.Config);
        long crossings = (long)run.Config.Steps * run.Config.Microbatches * (run.Config.Stages - 1);
        long codes = crossings * (payload.ForwardBytes + payload.CodeBytes), full = crossings * 2 * 2L * payload.Rows * run.Model.Width;
        long socket = swarm.Orchestrator.Figures.Values.Sum(figures => figures.SentBytes);
        double[] sorted = [.. seconds.Skip(1).Order()];
        double median = sorted.Length > 0 ? sorted[sorted.Length / 2] : 0, wall = seconds.Sum();
        double lost = seconds.Skip(1).Sum(step => Math.Max(0, step - (2 * median)));
        double busy = swarm.Orchestrator.Figures.Values.Sum(figures => figures.BusySeconds);
        double utilization = busy / Math.Max(1e-9, wall * swarm.Peers.Count);
        text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"""

            codes across the boundaries    {codes / 1e6,9:F2} MB; full bf16 activations would be {full / 1e6:F1} MB ({(double)full / codes:F0}x)
            bytes sent at the sockets      {socket / 1e6,9:F2} MB, gradients between replicas and state for the newcomer included
            time                           {wall,9:F1} s; {lost:F1} s beyond twice the median step ({median:F2} s)
            utilization                    {100 * utilization,9:F1} % compute over wall time of a peer; {swarm.Peers.Count} peers share {Environment.ProcessorCount} processors
            loss                           {curve[0].Loss,9:F3} to {curve[^1].Loss:F3} nats per byte
            checkpoint                     {outcome.Checkpoint}
            loss curve                     {svg}
            """));
        string sample = Sample(outcome.Checkpoint);
        text.WriteLine($"\na sample:\n{sample}");
        output.Result(new JsonObject
        {
            ["directory"] = outcome.Directory,
            ["checkpoint"] = outcome.Checkpoint,
            ["steps"] = outcome.Step,
            ["firstLoss"] = curve[0].Loss,
            ["loss"] = curve[^1].Loss,
            ["codeBytes"] = codes,
            ["fullActivationBytes"] = full,
            ["socketBytesSent"] = socket,
            ["seconds"] = wall,
            ["secondsLost"] = lost,
            ["utilization"] = utilization,
            ["sample"] = sample,
        });
    }

    static string Sample(string checkpoint)
    {
        using LoadedModel loaded = new(checkpoint, Devices.Open("cpu", 0));
        using Generator generator = new(loaded.Parameters);
        int[] prompt = [.. System.Text.Encoding.UTF8.GetBytes(SamplePrompt).Select(b => (int)b)];
        return SamplePrompt + System.Text.Encoding.UTF8.GetString([.. generator.Generate(prompt, 160, new SamplingOptions(0.7)).Select(id => (byte)id)]);
    }
}
