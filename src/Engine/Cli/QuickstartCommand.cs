// quickstart: the main job on this machine. Four stages x two replicas as real processes over real QUIC, 64x narrower codes,
// the text of this repository, every connection through an emulated link of the profile "orion" (856 Mbit/s up, 1322 down, 30
// to 60 ms); at a third of the way one peer is killed and later rejoins; a report ends it.
using System.CommandLine;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Cli;

static class QuickstartCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("quickstart", "Train on this machine with eight peers, lose one, recover, and report.", "quickstart", "quickstart --steps 120 --json");
        Option<int> steps = new Option<int>("--steps") { Description = "inner steps", DefaultValueFactory = _ => 60 }.Between(1, int.MaxValue);
        Option<int> stages = new Option<int>("--stages") { Description = "stages", DefaultValueFactory = _ => 4 }.Between(1, 64);
        Option<int> replicas = new Option<int>("--replicas") { Description = "peers for each stage", DefaultValueFactory = _ => 2 }.Between(1, 64);
        Option<string> links = new("--links") { Description = $"profile of the links between the peers ({string.Join(", ", LinkProfile.Named.Keys)}), or loopback", DefaultValueFactory = _ => "orion", HelpName = "profile" };
        Option<string> to = new("--out") { Description = "run directory; empty: the next free one under runs/", DefaultValueFactory = _ => "" };
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[steps, stages, replicas, links, to, json])
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
            return Run(ResolvedRun.From(config), Links(parsed.GetRequiredValue(links)), new CommandOutput(parsed.GetValue(json)));
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

    static LinkProfile? Links(string name) => name == "loopback" ? null
        : LinkProfile.Named.TryGetValue(name, out (LinkProfile Profile, string About) known) ? known.Profile
        : throw new ConfigurationException($"there is no link profile '{name}'; there are {string.Join(", ", LinkProfile.Named.Keys)} and loopback");

    static int Run(ResolvedRun run, LinkProfile? links, CommandOutput output)
    {
        RunConfig config = run.Config;
        using Interrupt interrupt = new(output.Text, "stopping; the last checkpoint stays");
        using LocalSwarm swarm = new(run, resumeFrom: null, output.Text, links: links);
        output.Text.WriteLine(links is null ? "links   loopback, nothing emulated" : $"links   each peer: down {links.Down}; up {links.Up}");
        QuickstartReport report = new(run, swarm);
        int killAt = Math.Max(2, config.Steps / 3), rejoinAt = Math.Max(3, config.Steps / 2);
        int victim = config.Replicas > 1 ? swarm.Peers.Count / 2 : -1;
        TrainingOutcome outcome;
        using (ITrainingView view = TrainCommand.View(output, interrupt, swarm.Picture))
        {
            outcome = swarm.Train(
                view,
                step =>
                {
                    report.Add(step);
                    if (step.Step == killAt && victim >= 0 && swarm.Peers[victim] is { } process)
                    {
                        view.Note($"step {step.Step,6}  {swarm.Ids[victim].Short} is killed (SIGKILL)");
                        process.Kill();
                        process.WaitForExit();
                    }
                    else if (step.Step == rejoinAt && victim >= 0)
                    {
                        view.Note($"step {step.Step,6}  {swarm.Ids[victim].Short} starts again, with its old identity");
                        swarm.StartPeer(victim);
                    }
                },
                interrupt.Token);
        }

        if (outcome.Interrupted)
        {
            TrainCommand.Report(outcome, output, "train");
            return ExitStatus.Interrupted;
        }

        output.Result(report.Print(outcome, victim < 0 ? [] : [new PlotMark(killAt, "a peer is killed"), new PlotMark(rejoinAt, "it starts again")], output.Text));
        return ExitStatus.Done;
    }
}
