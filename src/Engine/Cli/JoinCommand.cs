// join: this machine becomes a peer of a run. The join string names the orchestrator by its key, so nobody can pose as it.
using System.CommandLine;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;
using OrionNative.Net.Identity;

namespace OrionNative.Engine.Cli;

static class JoinCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("join", "Take part in a run as a peer.",
            "join orion://NODEID@host:4433/TOKEN",
            "join orion://NODEID@host:4433/TOKEN --listen 0.0.0.0:4434 --advertise 203.0.113.7:4434");
        Argument<string> url = new("url") { Description = "the join string that the run's operator gave you" };
        Option<string> state = new("--state") { Description = "folder of this peer's key and of files on their way, made at first start; it needs no other", DefaultValueFactory = _ => ".orion-peer", HelpName = "directory" };
        Option<string> listen = new("--listen") { Description = "address and port to listen on; port 0 takes a free one", DefaultValueFactory = _ => "0.0.0.0:0" };
        Option<string?> advertise = new("--advertise") { Description = "address and port that other peers dial, if they differ from --listen; listening on any address: the one that the orchestrator sees" };
        Option<string> device = new("--device") { Description = Devices.Help, DefaultValueFactory = _ => "cpu" };
        Option<int> threads = new Option<int>("--threads") { Description = "CPU threads; 0: every processor" }.Between(0, 4096);
        Option<double> rehearse = new Option<double>("--rehearse-seconds") { Description = "let a microbatch take at least this long, as on a slower device; 0: as fast as it goes" }.Between(0, 3600);
        Option<string?> hang = new("--rehearse-hang") { Description = HangDrill.Help, HelpName = "drill" };
        Option<string?> memory = new("--memory") { Description = "memory that this peer offers for a stage, like 900MB or 24GB; empty: what there is", HelpName = "size" };
        Option<double> speed = new Option<double>("--speed") { Description = "speed beside other peers; 0: measured at the start" }.Between(0, 1e6);
        Option<string?> model = new("--model") { Description = "take part only if the run trains this model: a preset or a model file", HelpName = "name" };
        Option<string?> tokenizer = new("--tokenizer") { Description = "take part only if the run's tokenizer is this: byte or a tokenizer.json", HelpName = "name" };
        Option<string?> log = new("--log") { Description = "file for this peer's log instead of standard error", HelpName = "file" };
        Option<double> patience = new Option<double>("--patience") { Description = "seconds that an orchestrator which was here may stay away before this peer gives it up", DefaultValueFactory = _ => PeerHostOptions.DefaultAwayAtMost.TotalSeconds }.Between(1, 1e6);
        Option<bool> local = new("--local") { Description = "the process that started this one runs the orchestrator", Hidden = true };
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(url);
        foreach (Option option in (Option[])[state, listen, advertise, device, threads, rehearse, hang, memory, speed, model, tokenizer, log, patience, local, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            if (!JoinString.TryParse(parsed.GetValue(url), out JoinString? join, out string? mistake))
            {
                throw new ConfigurationException(mistake);
            }

            if (!IPEndPoint.TryParse(parsed.GetRequiredValue(listen), out IPEndPoint? address))
            {
                throw new ConfigurationException($"listen '{parsed.GetValue(listen)}' is not an address and port like 0.0.0.0:4434");
            }

            if (parsed.GetValue(advertise) is { } place && !(IPEndPoint.TryParse(place, out IPEndPoint? dialled) && dialled.Port > 0 && !dialled.Address.Equals(IPAddress.Any) && !dialled.Address.Equals(IPAddress.IPv6Any)))
            {
                throw new ConfigurationException($"advertise '{place}' is not an address and port that other peers can dial, like 203.0.113.7:4434");
            }

            using TextWriter output = parsed.GetValue(log) is { } file ? TextWriter.Synchronized(new StreamWriter(file, append: true) { AutoFlush = true }) : Console.Error;
            using Interrupt interrupt = new(output, "leaving: finishes what it holds, once another peer holds its stage; the same signal again ends it at once", isHelper: parsed.GetValue(local));
            using NodeIdentity key = NodeIdentity.LoadOrCreate(parsed.GetRequiredValue(state));
            // two processes with one key would push each other out of the run without end, and its steps with them
            using FileStream held = RunDirectory.Hold(parsed.GetRequiredValue(state), $"another process takes part with the key in '{parsed.GetValue(state)}'; end it, or give this peer a --state folder of its own");
            output.WriteLine($"{DateTime.UtcNow:HH:mm:ss.fff} peer {key.Id.Short} joins {join}");
            using PeerHost peer = new(new PeerHostOptions(
                join, key, address, parsed.GetValue(advertise), parsed.GetRequiredValue(device), parsed.GetValue(threads), parsed.GetValue(rehearse), Path.GetFullPath(parsed.GetRequiredValue(state)),
                text => output.WriteLine($"{DateTime.UtcNow:HH:mm:ss.fff} {text}"))
            {
                MemoryBytes = MemorySize.Parse(parsed.GetValue(memory)),
                Speed = parsed.GetValue(speed),
                AwayAtMost = TimeSpan.FromSeconds(parsed.GetValue(patience)),
                Drill = HangDrill.Parse(parsed.GetValue(hang)),
                Model = parsed.GetValue(model) is { } wanted ? ResolvedRun.LoadModel(wanted) : null,
                TokenizerHash = parsed.GetValue(tokenizer) is { } accepted ? ResolvedRun.LoadTokenizer(accepted).Hash : null,
            });
            string reason = peer.Run(interrupt.Token);
            output.WriteLine($"{DateTime.UtcNow:HH:mm:ss.fff} {reason}");
            bool isCutShort = interrupt.Token.IsCancellationRequested && !peer.IsReleased, isRefused = peer.WasRefused && !interrupt.Token.IsCancellationRequested;
            JsonObject result = new() { ["peer"] = key.Id.ToString(), ["reason"] = reason, ["refused"] = peer.WasRefused, ["interrupted"] = isCutShort };
            if (isRefused)
            {
                string refusal = $"the run does not take this peer: {reason}";
                Console.Error.WriteLine($"orion-engine: {refusal}");
                (result["error"], result["exitCode"]) = (refusal, ExitStatus.Failed);
            }

            new CommandOutput(parsed.GetValue(json)).Result(result);
            return isRefused ? ExitStatus.Failed : isCutShort ? ExitStatus.Interrupted : ExitStatus.Done;
        });
        return command;
    }
}
