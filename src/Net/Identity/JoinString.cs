// How a node is invited: orion://NODEID@host:port/TOKEN, or orion+tcp://... where the run's peers speak TCP. The NodeId pins who
// answers at the address, so nobody between can pose as the orchestrator; the token is spent once, inside the authenticated
// connection. A join string is a secret.
using System.Diagnostics.CodeAnalysis;
using OrionNative.Net.Framing;

namespace OrionNative.Net.Identity;

/// <summary>Where to join, who must answer there, and the one-time token. Print <see cref="ToString"/>: it hides the token;
/// <see cref="Reveal"/> does not.</summary>
public sealed record JoinString(NodeId NodeId, string Host, int Port, string Token, TransportKind Transport = TransportKind.Quic)
{
    const string QuicScheme = "orion://", TcpScheme = "orion+tcp://";
    const string Form = "orion://NODEID@host:port/TOKEN";
    const int TokenLengthMax = 128;

    /// <summary>Reads a join string; on failure <paramref name="mistake"/> says which part is wrong, never the token.</summary>
    public static bool TryParse(string? text, [NotNullWhen(true)] out JoinString? join, [NotNullWhen(false)] out string? mistake)
    {
        join = null;
        mistake = null;
        bool isTcp = text?.StartsWith(TcpScheme, StringComparison.OrdinalIgnoreCase) ?? false;
        if (text is null || !isTcp && !text.StartsWith(QuicScheme, StringComparison.OrdinalIgnoreCase)) mistake = $"a join string has the form {Form}";
        else
        {
            string rest = text[(isTcp ? TcpScheme : QuicScheme).Length..];
            int at = rest.IndexOf('@'), slash = rest.IndexOf('/', Math.Max(at, 0));
            string node = at < 0 ? "" : rest[..at], address = at < 0 || slash < 0 ? "" : rest[(at + 1)..slash], token = slash < 0 ? "" : rest[(slash + 1)..];
            if (at < 0 || slash < 0) mistake = $"a join string has the form {Form}";
            else if (!NodeId.TryParse(node, out var id)) mistake = $"the NodeId before '@' must be {NodeId.TextLength} characters of base32 (a-z, 2-7); got {node.Length}";
            else if (!TrySplit(address, out string? host, out int port)) mistake = $"\"{address}\" is not host:port (an IPv6 address goes in brackets)";
            else if (token.Length is 0 or > TokenLengthMax || !token.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'))
            {
                mistake = $"the token after '/' must be 1 to {TokenLengthMax} characters of a-z, A-Z, 0-9, '-', '_'";
            }
            else join = new JoinString(id, host, port, token, isTcp ? TransportKind.Tcp : TransportKind.Quic);
        }
        return join is not null;
    }

    static bool TrySplit(string address, [NotNullWhen(true)] out string? host, out int port)
    {
        host = null;
        port = 0;
        int colon = address.LastIndexOf(':');
        if (colon <= 0 || !int.TryParse(address.AsSpan(colon + 1), System.Globalization.NumberStyles.None, null, out port) || port is 0 or > 65535) return false;
        string name = address[..colon];
        bool bracketed = name.StartsWith('[') && name.EndsWith(']');
        if (bracketed) name = name[1..^1];
        var kind = Uri.CheckHostName(name);
        if (kind == UriHostNameType.Unknown || bracketed != (kind == UriHostNameType.IPv6)) return false;
        host = name;
        return true;
    }

    string Scheme => Transport == TransportKind.Tcp ? TcpScheme : QuicScheme;

    /// <summary>The whole string, token included.</summary>
    public string Reveal() => $"{Scheme}{NodeId}@{(Host.Contains(':') ? $"[{Host}]" : Host)}:{Port}/{Token}";

    /// <summary>The string without its token, for logs.</summary>
    public override string ToString() => $"{Scheme}{NodeId.Short}@{(Host.Contains(':') ? $"[{Host}]" : Host)}:{Port}/…";
}
