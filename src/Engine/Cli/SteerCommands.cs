// status, events, drain, stop: look at and steer a run that is going on, from another shell or another machine.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;

namespace OrionNative.Engine.Cli;

static class SteerCommands
{
    public static Command Status()
    {
        ExampleCommand command = new("status", "Where a run stands: stages, peers, what waits.", "status", "status --run runs/0001 --json", "status --run runs/0001 --at 120");
        RunChoice choice = new(command);
        Option<int> at = new Option<int>("--at") { Description = "where it stood when this step was committed, from its event log; the run may be over", HelpName = "step" }.Between(1, int.MaxValue);
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(at);
        command.Add(json);
        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            if (parsed.GetValue(at) is > 0 and var step)
            {
                string directory = choice.Here(parsed);
                JsonObject past = PastStatus.Of(directory, RunHistory.At(RunDirectory.ReadEvents(directory), RunDirectory.ReadConfig(directory), step));
                PastStatus.Print(past, output.Text);
                output.Result(past);
                return ExitStatus.Done;
            }

            using RunClient run = choice.Open(parsed);
            JsonObject status = run.Get("/api/status");
            if (parsed.GetValue(json))
            {
                output.Result(status);
            }
            else
            {
                Print(status, output.Text);
            }

            return ExitStatus.Done;
        });
        return command;
    }

    static void Print(JsonObject s, TextWriter text)
    {
        text.WriteLine(Invariant($"run     {s["run"]}"));
        text.WriteLine(Invariant($"phase   {s["phase"]}{((string?)s["hold"] is { Length: > 0 } hold ? ": " + hold : "")}"));
        text.WriteLine(Invariant($"step    {s["step"]} of {s["steps"]}; newest checkpoint {s["checkpointStep"]}; epoch {s["epoch"]}, term {s["term"]}{((int)s["branch"]! > 0 ? $", rolled back {s["branch"]} times" : "")}"));
        if (s["loss"] is not null)
        {
            text.WriteLine(Invariant($"loss    {(double)s["loss"]!:F4}; {(double?)s["tokensPerSecond"] ?? 0:N0} tok/s; gradient norm {(double?)s["gradientNorm"] ?? 0:F2}"));
        }

        foreach (JsonNode? boundary in s["boundaries"]!.AsArray())
        {
            text.WriteLine(Invariant($"wire    {boundary!["from"]} to {boundary["to"]}: {(long)boundary["codeBytes"]! / 1e6:F2} MB forward, {(long)boundary["gradientBytes"]! / 1e6:F2} MB back"));
        }

        text.WriteLine();
        text.WriteLine("stage  peer      state     held  summed  busy  per microbatch  sent MB  address");
        foreach (JsonNode? peer in s["peers"]!.AsArray())
        {
            int stage = (int)peer!["stage"]!;
            string state = !(bool)peer["connected"]! ? "away" : (bool)peer["doubted"]! ? "doubted" : (string)peer["state"]!;
            text.WriteLine(Invariant($"{(stage < 0 ? "-" : stage),5}  {peer["name"],-8}  {state,-8}  {peer["held"],4}  {peer["contributed"],6}  {100 * (double)peer["busyShare"]!,3:F0}%  {1000 * (double)peer["microbatchSeconds"]!,11:F1} ms  {(long)peer["sentBytes"]! / 1e6,7:F2}  {peer["address"]}"));
        }
    }

    public static Command Events()
    {
        ExampleCommand command = new("events", "What has happened in a run, and what happens.", "events --run runs/0001", "events --follow", "events --follow --lines");
        RunChoice choice = new(command);
        Option<bool> follow = new("--follow") { Description = "go on with new events until the run ends or Ctrl-C" };
        Option<bool> lines = new("--lines") { Description = "print each event as one JSON object on a line of its own, as it comes" };
        Option<long> after = new Option<long>("--after") { Description = "only events after this number", HelpName = "number" }.Between(0, long.MaxValue);
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[follow, lines, after, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            using RunClient? run = parsed.GetValue(follow) ? choice.Open(parsed) : null;
            using Interrupt interrupt = new(TextWriter.Null, "");
            JsonArray all = [];
            foreach (JsonObject happened in run?.Follow(parsed.GetValue(after), interrupt.Token) ?? choice.Events(parsed, parsed.GetValue(after)))
            {
                output.Text.WriteLine(parsed.GetValue(lines) ? happened.ToJsonString() : Line(happened));
                if (parsed.GetValue(json))
                {
                    all.Add(happened.DeepClone());
                }
            }

            output.Result(new JsonObject { ["events"] = all });
            return interrupt.Token.IsCancellationRequested ? ExitStatus.Interrupted : ExitStatus.Done;
        });
        return command;
    }

    static string Line(JsonObject happened)
    {
        string time = DateTimeOffset.Parse((string)happened["time"]!, CultureInfo.InvariantCulture).ToString("HH:mm:ss.fff", CultureInfo.InvariantCulture);
        IEnumerable<string> details = happened.Where(entry => entry.Key is not ("id" or "time" or "event" or "record"))
            .Select(entry => $"{entry.Key} {Short(entry.Value?.ToJsonString() ?? "none")}");
        return Invariant($"{happened["id"],6}  {time}  {happened["event"],-20} {string.Join("  ", details)}");
    }

    static string Short(string value) => value.Length > 100 ? value[..99] + "…" : value;

    public static Command Drain()
    {
        ExampleCommand command = new("drain", "Tell a peer to finish what it holds, hand over and leave.", "drain 3kqw7u", "drain 3kqw7u --run runs/0001");
        Argument<string> peer = new("peer") { Description = "the first letters of its id, as status shows it" };
        command.Add(peer);
        return Post(command, parsed => ("/api/drain", new JsonObject { ["peer"] = parsed.GetValue(peer) }));
    }

    public static Command Stop() =>
        Post(new ExampleCommand("stop", "End a run after the step under way, with a checkpoint.", "stop", "stop --run runs/0001"), _ => ("/api/stop", []));

    static Command Post(Command command, Func<ParseResult, (string Path, JsonObject Body)> ask)
    {
        RunChoice choice = new(command);
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(json);
        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            using RunClient run = choice.Open(parsed);
            (string path, JsonObject body) = ask(parsed);
            string text = run.Post(path, body);
            output.Text.WriteLine(text);
            output.Result(new JsonObject { ["text"] = text });
            return ExitStatus.Done;
        });
        return command;
    }

    static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}
