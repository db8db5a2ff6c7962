// link test: measures the link to a `link serve`, a live table on a terminal, plain lines elsewhere, one JSON object on demand.
using System.CommandLine;
using System.Text.Json.Nodes;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Links;
using OrionNative.Net.Quic;
using Spectre.Console;

namespace OrionNative.Engine.Cli.Link;

static class LinkTestCommand
{
    static readonly string[] _headings = ["transport", "direction", "MB/s", "rtt ms p50/p99 idle", "rtt ms p50/p99 loaded", "CPU s/GB send", "CPU s/GB receive", "resent %"];

    public static Command Create()
    {
        ExampleCommand command = new("test", "Measure goodput, round trip, loss and processor time to a `link serve`.",
            "link test 203.0.113.7:4433 --node NODEID", "link test 203.0.113.7:4433 --node NODEID --transport quic --seconds 5 --json");
        Argument<string> address = new("address") { Description = "HOST:PORT of the server" };
        Option<string> node = new("--node") { Description = "the server's NodeId, as it prints it", Required = true };
        Option<string> transport = LinkCommand.TransportOption("both", "quic", "tcp", "both");
        Option<double> seconds = new Option<double>("--seconds") { Description = "how long each direction sends", DefaultValueFactory = _ => 10 }.Between(0.1, 1e6);
        Option<string> size = new("--message") { Description = "bytes of one message, at most the server's", DefaultValueFactory = _ => "2.2MiB" };
        Option<int> depth = new Option<int>("--depth") { Description = "messages under way at once, at most 8", DefaultValueFactory = _ => 8 }.Between(1, 8);
        Option<string> identity = LinkCommand.IdentityOption();
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(address);
        foreach (Option option in new Option[] { node, transport, seconds, size, depth, identity, json }) command.Add(option);
        command.SetAction(async (parsed, cancellation) =>
        {
            await Task.Yield(); // Ctrl-C before the first wait would end the process without a word
            CommandOutput output = new(parsed.GetValue(json));
            if (!NodeId.TryParse(parsed.GetValue(node)!, out NodeId server))
                throw new ConfigurationException($"--node wants the server's NodeId of {NodeId.TextLength} characters; got '{parsed.GetValue(node)}'");
            var target = LinkCommand.Address("address", parsed.GetValue(address)!);
            TransportKind[] kinds = LinkCommand.Transports(parsed.GetValue(transport)!);
            if (kinds.Contains(TransportKind.Quic) && QuicLibrary.NotSupportedReason is { } missing)
            {
                throw new PlatformNotSupportedException($"{missing} Or test --transport tcp.");
            }
            using NodeIdentity self = parsed.GetValue(identity) is { } directory ? NodeIdentity.LoadOrCreate(directory) : NodeIdentity.Create();
            var options = new MeterOptions
            {
                Duration = TimeSpan.FromSeconds(parsed.GetValue(seconds)),
                MessageBytes = LinkCommand.Bytes("--message", parsed.GetValue(size)!),
                Depth = parsed.GetValue(depth),
            };
            output.Text.WriteLine($"this node is {self.Id}");
            List<LinkReport> reports = [];
            await Show(output, async progress =>
            {
                foreach (TransportKind kind in kinds)
                {
                    using ITransportEndpoint endpoint = LinkMeter.Endpoint(kind, self, LinkMeter.AnyAddress(target), null, null);
                    reports.Add(await LinkMeter.MeasureAsync(endpoint, target, server, options with { Progress = progress }, cancellation));
                }
            });
            Print(output, reports);
            output.Result(new JsonObject { ["links"] = new JsonArray([.. reports.Select(Json)]) });
            return ExitStatus.Done;
        });
        return command;
    }

    static async Task Show(CommandOutput output, Func<Action<MeterSnapshot>, Task> measure)
    {
        if (!output.IsTerminal)
        {
            await measure(s => output.Text.WriteLine($"{LinkCommand.Name(s.Transport),-4} {s.Phase,-4} {s.Seconds,5:0.0} s  {s.MegabytesPerSecond,8:0.0} MB/s  rtt {s.RttMilliseconds,7:0.00} ms  resent {100 * s.LossFraction:0.000} %"));
            return;
        }
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output.Text) });
        Table table = new Table().AddColumns("transport", "direction", "s", "MB/s", "rtt ms", "resent %");
        await console.Live(table).StartAsync(live => measure(s =>
        {
            string[] cells = [LinkCommand.Name(s.Transport), s.Phase, $"{s.Seconds:0.0}", $"{s.MegabytesPerSecond:0.0}", $"{s.RttMilliseconds:0.00}", $"{100 * s.LossFraction:0.000}"];
            string key = $"{cells[0]}, {cells[1]}";
            if (table.Rows.Count == 0 || table.Title?.Text != key) table.AddRow(cells);
            else for (int i = 0; i < cells.Length; i++) table.UpdateCell(table.Rows.Count - 1, i, cells[i]);
            table.Title = new TableTitle(key);
            live.Refresh();
        }));
    }

    static void Print(CommandOutput output, List<LinkReport> reports)
    {
        output.Text.WriteLine(string.Join("  ", _headings.Select((h, i) => h.PadRight(Width(i)))));
        foreach (LinkReport report in reports)
        {
            foreach ((string name, DirectionReport d) in new[] { ("up", report.Up), ("down", report.Down) })
            {
                string[] cells =
                [
                    LinkCommand.Name(report.Transport), name, $"{d.MegabytesPerSecond:0.0}", $"{report.RttIdleMsP50:0.00}/{report.RttIdleMsP99:0.00}",
                    $"{d.RttLoadedMsP50:0.00}/{d.RttLoadedMsP99:0.00}", $"{d.SenderCpuSecondsPerGigabyte:0.00}", $"{d.ReceiverCpuSecondsPerGigabyte:0.00}", $"{100 * report.LossFraction:0.000}",
                ];
                output.Text.WriteLine(string.Join("  ", cells.Select((c, i) => c.PadRight(Width(i)))));
            }
        }
    }

    static int Width(int column) => Math.Max(8, _headings[column].Length);

    static JsonNode Json(LinkReport report) => new JsonObject
    {
        ["transport"] = LinkCommand.Name(report.Transport),
        ["peer"] = report.Peer,
        ["connectMs"] = report.ConnectMs,
        ["rttIdleMsP50"] = report.RttIdleMsP50,
        ["rttIdleMsP99"] = report.RttIdleMsP99,
        ["resentFraction"] = report.LossFraction,
        ["up"] = Json(report.Up),
        ["down"] = Json(report.Down),
    };

    static JsonObject Json(DirectionReport direction) => new()
    {
        ["megabytesPerSecond"] = direction.MegabytesPerSecond,
        ["bytes"] = direction.Bytes,
        ["seconds"] = direction.Seconds,
        ["senderCpuSecondsPerGigabyte"] = direction.SenderCpuSecondsPerGigabyte,
        ["receiverCpuSecondsPerGigabyte"] = direction.ReceiverCpuSecondsPerGigabyte,
        ["rttLoadedMsP50"] = direction.RttLoadedMsP50,
        ["rttLoadedMsP99"] = direction.RttLoadedMsP99,
    };
}
