// Join tokens: a secret that admits a limited number of newcomers until a time. Only SHA-256 of a token is ever stored.
using System.Security.Cryptography;
using System.Text;

namespace OrionNative.Engine.Control;

sealed class JoinTokens
{
    sealed record Issued(int UsesLeft, long ExpiresUnixSeconds);

    readonly SortedDictionary<string, Issued> _issued = new(StringComparer.Ordinal);

    public static string Hash(string token) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(token)));

    public void Add(string hash, int uses, long expiresUnixSeconds) => _issued[hash] = new Issued(uses, expiresUnixSeconds);

    public void Use(string hash) => _issued[hash] = _issued[hash] with { UsesLeft = _issued[hash].UsesLeft - 1 };

    /// <summary>Whether the token admits somebody now; if not, why, in words for the person who typed it.</summary>
    public bool Admits(string token, long unixSeconds, out JoinRefusal refusal, out string text)
    {
        (refusal, text) = (JoinRefusal.UnknownToken, "the token is not one of this run; ask the run's operator for a new join string");
        if (!_issued.TryGetValue(Hash(token), out Issued? issued))
            return false;
        if (unixSeconds >= issued.ExpiresUnixSeconds)
        {
            (refusal, text) = (JoinRefusal.TokenExpired, $"the token expired {unixSeconds - issued.ExpiresUnixSeconds} s ago; ask the run's operator for a new join string");
            return false;
        }
        if (issued.UsesLeft > 0)
            return true;
        (refusal, text) = (JoinRefusal.TokenUsedUp, "the token was used as often as it may be; ask the run's operator for a new join string");
        return false;
    }
}
