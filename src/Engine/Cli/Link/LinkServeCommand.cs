// link serve: waits for peers that measure, over QUIC and TCP on the same port number.
using System.CommandLine;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Links;
using OrionNative.Net.Quic;

namespace OrionNative.Engine.Cli.Link;

static class LinkServeCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("serve", "Wait for `link test` from other machines.",
            "link serve --listen 0.0.0.0:4433", "link serve --listen [::]:4433 --transport quic --allow NODEID");
        Option<string> listen = new("--listen") { Description = "address and port, for both transports", DefaultValueFactory = _ => "0.0.0.0:4433" };
        Option<string> transport = LinkCommand.TransportOption("both", "quic", "tcp", "both");
        Option<string> identity = LinkCommand.IdentityOption();
        Option<string[]> allow = new("--allow") { Description = "a NodeId that may measure; without it anybody may who reaches the port" };
        Option<string> size = new("--message") { Description = "bytes of one message", DefaultValueFactory = _ => "2.2MiB" };
        Option<double> seconds = new Option<double>("--seconds") { Description = "end after so long; 0 serves until interrupted" }.Between(0, 1e7);
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in new Option[] { listen, transport, identity, allow, size, seconds, json }) command.Add(option);
        command.SetAction(async (parsed, cancellation) =>
        {
            await Task.Yield(); // Ctrl-C before the first wait would end the process without a word
            CommandOutput output = new(parsed.GetValue(json));
            IPEndPoint at = LinkCommand.Address("--listen", parsed.GetValue(listen)!);
            NodeId[] allowed = [.. (parsed.GetValue(allow) ?? []).Select(Parse)];
            TransportKind[] kinds = LinkCommand.Transports(parsed.GetValue(transport)!);
            if (kinds.Contains(TransportKind.Quic) && QuicLibrary.NotSupportedReason is { } missing)
            {
                throw new PlatformNotSupportedException($"{missing} Or serve --transport tcp.");
            }
            using NodeIdentity node = parsed.GetValue(identity) is { } directory ? NodeIdentity.LoadOrCreate(directory) : NodeIdentity.Create();
            var options = new MeterOptions { MessageBytes = LinkCommand.Bytes("--message", parsed.GetValue(size)!) };
            using var server = new LinkServer(node, at, kinds,
                id => allowed.Length == 0 || allowed.Contains(id), options, output.Text.WriteLine);
            output.Text.WriteLine($"serving {string.Join(" and ", kinds.Select(LinkCommand.Name))} at {server.Address}; {(allowed.Length == 0 ? "anybody who reaches the port may measure (--allow NODEID restricts it)" : $"{allowed.Length} peers may measure")}");
            output.Text.WriteLine($"on the other machine:  orion-engine link test HOST:{server.Address.Port} --node {node.Id}");
            TimeSpan wait = parsed.GetValue(seconds) is > 0 and double limit ? TimeSpan.FromSeconds(limit) : Timeout.InfiniteTimeSpan;
            // told to end, by Ctrl-C or by the time
            await Task.Delay(wait, cancellation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            output.Result(new JsonObject { ["node"] = node.Id.ToString(), ["address"] = server.Address.ToString(), ["transports"] = new JsonArray([.. kinds.Select(kind => (JsonNode)LinkCommand.Name(kind))]) });
            return cancellation.IsCancellationRequested ? ExitStatus.Interrupted : ExitStatus.Done;
        });
        return command;
    }

    static NodeId Parse(string text) => NodeId.TryParse(text, out NodeId id) ? id
        : throw new ConfigurationException($"--allow wants a NodeId of {NodeId.TextLength} characters, as `link test` prints it; got '{text}'");
}
