// Where a run's HTTP side listens, as orchestrate and train take it.
using System.CommandLine;
using System.Net;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class HttpOption
{
    public static Option<string> Create(string normally) => new("--http")
    {
        Description = "address and port of the dashboard and of status, events, drain and stop; port 0: a free one",
        DefaultValueFactory = _ => normally,
        HelpName = "address",
    };

    public static IPEndPoint Read(ParseResult parsed, Option<string> option) => Address("http", parsed.GetRequiredValue(option));

    /// <exception cref="ConfigurationException">The text is no address and port.</exception>
    public static IPEndPoint Address(string name, string text) =>
        IPEndPoint.TryParse(text, out IPEndPoint? address) ? address
            : throw new ConfigurationException($"{name} '{text}' is not an address and port like 127.0.0.1:4480");
}
