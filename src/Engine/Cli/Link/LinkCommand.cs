// link: the link laboratory. `serve` and `test` measure a link between two machines over both transports; `emulate` puts a bad
// one between two programs on any machine, without root.
using System.CommandLine;
using System.Globalization;
using System.Net;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Cli.Link;

static class LinkCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("link", "Link laboratory: measure a link between two machines, or emulate one.",
            "link serve --listen 0.0.0.0:4433",
            "link test 203.0.113.7:4433 --node NODEID",
            "link emulate --profile transatlantic --listen 127.0.0.1:5000 --target 127.0.0.1:4433");
        command.Add(LinkServeCommand.Create());
        command.Add(LinkTestCommand.Create());
        command.Add(LinkEmulateCommand.Create());
        return command;
    }

    public static Option<string> TransportOption(string fallback, params string[] values)
    {
        Option<string> option = new("--transport") { Description = $"{string.Join(", ", values[..^1])} or {values[^1]}", DefaultValueFactory = _ => fallback };
        option.AcceptOnlyFromAmong(values);
        return option;
    }

    public static Option<string> IdentityOption() => new("--identity")
    {
        Description = "directory with this node's key; without it a key is made for this run only",
    };

    public static TransportKind[] Transports(string name) => name switch
    {
        "quic" => [TransportKind.Quic],
        "tcp" => [TransportKind.Tcp],
        _ => [TransportKind.Quic, TransportKind.Tcp],
    };

    public static string Name(TransportKind kind) => kind.ToString().ToLowerInvariant();

    /// <summary>HOST:PORT with a name or an address.</summary>
    public static IPEndPoint Address(string option, string text)
    {
        int colon = text.LastIndexOf(':');
        if (colon > 0 && ushort.TryParse(text.AsSpan(colon + 1), CultureInfo.InvariantCulture, out ushort port))
        {
            string host = text[..colon].Trim('[', ']');
            if (IPAddress.TryParse(host, out IPAddress? address)) return new IPEndPoint(address, port);
            try
            {
                return new IPEndPoint(Dns.GetHostAddresses(host)[0], port);
            }
            catch (System.Net.Sockets.SocketException error)
            {
                throw new ConfigurationException($"{option}: the name '{host}' has no address ({error.Message})");
            }
        }
        throw new ConfigurationException($"{option} wants HOST:PORT, as in 203.0.113.7:4433 or [::]:4433; got '{text}'");
    }

    /// <summary>A number of bytes: 65536, 64KiB, 2.2MiB.</summary>
    public static int Bytes(string option, string text)
    {
        (string unit, double scale) = text switch
        {
            _ when text.EndsWith("MiB", StringComparison.OrdinalIgnoreCase) => (text[..^3], 1 << 20),
            _ when text.EndsWith("KiB", StringComparison.OrdinalIgnoreCase) => (text[..^3], 1 << 10),
            _ => (text, 1.0),
        };
        if (double.TryParse(unit, CultureInfo.InvariantCulture, out double value) && value * scale is >= 1 and <= 1 << 30) return (int)(value * scale);
        throw new ConfigurationException($"{option} wants a size from 1 byte to 1 GiB, as in 65536, 64KiB or 2.2MiB; got '{text}'");
    }
}
