// orchestrate: the same run as train --stages, with peers that come from anywhere by `join`. The join string, which is a
// secret, is printed once; the run begins when stages x replicas peers are here.
using System.CommandLine;
using System.Globalization;
using System.Net;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class OrchestrateCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("orchestrate", "Serve a run to peers that join from other machines.",
            "orchestrate --data book.txt --stages 4 --replicas 2 --listen 0.0.0.0:4433 --advertise 203.0.113.7",
            "orchestrate --config run.yaml --token-uses 16 --token-hours 48",
            "orchestrate --resume runs/0001");
        RunOptions options = new(command);
        Option<string> resume = new("--resume") { Description = "go on with the run in this directory, with the peers that come back", HelpName = "directory" };
        Option<string?> listen = new("--listen") { Description = "address and port that peers reach [default: 0.0.0.0:4433; resumed: as before]", HelpName = "address" };
        Option<string?> advertise = new("--advertise") { Description = "host name or address in the join string, if it differs from --listen", HelpName = "host" };
        Option<int> uses = new Option<int>("--token-uses") { Description = "newcomers that the join string admits; 0: two for each place", HelpName = "count" }.Between(0, 1 << 20);
        Option<double> hours = new Option<double>("--token-hours") { Description = "how long the join string admits newcomers", DefaultValueFactory = _ => 24, HelpName = "hours" }.Between(0.0001, 24 * 366);
        Option<string> http = HttpOption.Create("127.0.0.1:4480");
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[resume, listen, advertise, uses, hours, http, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            string? from = parsed.GetValue(resume);
            IPEndPoint? wanted = parsed.GetValue(listen) is { } text ? HttpOption.Address("listen", text) : from is null ? new IPEndPoint(IPAddress.Any, 4433) : null;
            RunConfig config = options.Read(parsed, from is null ? new RunConfig() : RunDirectory.ReadConfig(from));
            ResolvedRun run = from is null ? ResolvedRun.From(config) : ResolvedRun.Resumed(from, config);
            CommandOutput output = new(parsed.GetValue(json));
            using Interrupt interrupt = new(output.Text, "ending after this step, with a checkpoint; once more ends at once");
            using OrchestratedRun orchestrated = new(run, from, wanted, HttpOption.Read(parsed, http), output.Text);
            IPEndPoint address = orchestrated.Orchestrator.Address;
            int admits = parsed.GetValue(uses) > 0 ? parsed.GetValue(uses) : 2 * run.Config.Stages * run.Config.Replicas;
            string host = parsed.GetValue(advertise) ?? (address.Address.Equals(IPAddress.Any) || address.Address.Equals(IPAddress.IPv6Any) ? Dns.GetHostName() : address.Address.ToString());
            TimeSpan lasts = TimeSpan.FromHours(parsed.GetValue(hours));
            string join = orchestrated.Orchestrator.Invite(admits, lasts, host).Reveal();
            output.Text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"join    orion-engine join {join}"));
            output.Text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"        shown this once; admits {admits} newcomers within {lasts.TotalHours:0.##} h; waiting for {run.Config.Stages * run.Config.Replicas} peers"));
            using ITrainingView view = TrainCommand.View(output, interrupt);
            TrainingOutcome outcome = orchestrated.Serve(view, committed: null, interrupt.Token);
            TrainCommand.Report(outcome, output, "orchestrate");
            return outcome.Interrupted ? ExitStatus.Interrupted : ExitStatus.Done;
        });
        return command;
    }
}
