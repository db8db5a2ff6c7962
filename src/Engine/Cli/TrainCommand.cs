// train: one run. The flags are the settings of run.yaml; --resume goes on where a run stopped, with the settings it had.
using System.CommandLine;
using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class TrainCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("train", "Train a model on text.",
            "train --data book.txt",
            "train --data 'corpus/**/*.txt' --model 30m --tokenizer tokenizer.json --steps 2000 --lr 6e-4 --out runs/books",
            "train --config run.yaml --steps 500",
            "train --resume runs/books --steps 4000");
        RunOptions options = new(command);
        Option<string> resume = new("--resume") { Description = "go on with the run in this directory, from its newest checkpoint", HelpName = "directory" };
        Option<string> http = HttpOption.Create("127.0.0.1:0");
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(resume);
        command.Add(http);
        command.Add(json);
        command.SetAction(parsed => Train(parsed, options, parsed.GetValue(resume), HttpOption.Read(parsed, http), new CommandOutput(parsed.GetValue(json))));
        return command;
    }

    static int Train(ParseResult parsed, RunOptions options, string? resume, IPEndPoint http, CommandOutput output)
    {
        RunConfig start = resume is null ? new RunConfig() : RunDirectory.ReadConfig(resume);
        RunConfig config = options.Read(parsed, start);
        ResolvedRun run = resume is null ? ResolvedRun.From(config) : ResolvedRun.Resumed(resume, config);
        using Interrupt interrupt = new(output.Text, "stopping after this step; once more ends at once");
        TrainingOutcome outcome = run.Config.Stages * run.Config.Replicas > 1
            ? TrainSwarm(run, resume, http, output, interrupt)
            : TrainHere(run, resume, output, interrupt);
        Report(outcome, output, "train");
        return outcome.Interrupted ? ExitStatus.Interrupted : ExitStatus.Done;
    }

    static TrainingOutcome TrainHere(ResolvedRun run, string? resume, CommandOutput output, Interrupt interrupt)
    {
        using TrainingRun training = new(run, resume, TimeProvider.System, output.Text);
        using ITrainingView view = View(output, interrupt);
        return training.Train(view, interrupt.Token);
    }

    static TrainingOutcome TrainSwarm(ResolvedRun run, string? resume, IPEndPoint http, CommandOutput output, Interrupt interrupt)
    {
        using LocalSwarm swarm = new(run, resume, output.Text, http);
        using ITrainingView view = View(output, interrupt, swarm.Picture);
        return swarm.Train(view, committed: null, interrupt.Token);
    }

    /// <summary>A live panel on a terminal, plain lines elsewhere; the interrupt speaks through it.</summary>
    public static ITrainingView View(CommandOutput output, Interrupt interrupt, Func<PipelineView>? pipeline = null)
    {
        ITrainingView view = output.IsTerminal ? new TerminalTrainingView(output.Text, TimeProvider.System, pipeline) : new PlainTrainingView(output.Text, TimeProvider.System);
        interrupt.Say = view.Note;
        return view;
    }

    /// <summary>Says how a run ended and how to go on.</summary>
    public static void Report(TrainingOutcome outcome, CommandOutput output, string command)
    {
        if (outcome.EvalLoss is { } evalLoss)
        {
            output.Text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"evaluation loss {evalLoss:F4}"));
        }

        if (outcome.Checkpoint.Length > 0)
        {
            output.Text.WriteLine($"checkpoint {outcome.Checkpoint}");
        }

        output.Text.WriteLine(outcome.Interrupted
            ? $"interrupted at step {outcome.Step}; go on with: orion-engine {command} --resume {outcome.Directory}"
            : $"done; try: orion-engine generate --checkpoint {outcome.Directory} --prompt \"...\"");
        output.Result(new JsonObject
        {
            ["directory"] = outcome.Directory,
            ["checkpoint"] = outcome.Checkpoint,
            ["step"] = outcome.Step,
            ["loss"] = double.IsFinite(outcome.Loss) ? outcome.Loss : null,
            ["evalLoss"] = outcome.EvalLoss,
            ["tokensPerSecond"] = outcome.TokensPerSecond,
            ["mfu"] = double.IsFinite(outcome.Mfu) ? outcome.Mfu : null,
            ["interrupted"] = outcome.Interrupted,
        });
    }
}
