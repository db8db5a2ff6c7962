// NodeId text, the key file, join strings: what people type and what lies on disk.
using System.Security.Cryptography;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Tests;

public sealed class IdentityTests : IDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("orion-identity-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void NodeId_KnownKey_IsSha256OfItsPublicKeyInBase32()
    {
        // RFC 4648 writes the bytes of "foobar" as MZXW6YTBOI; the rest of the 32 bytes are zero.
        var bytes = new byte[NodeId.Bytes];
        "foobar"u8.CopyTo(bytes);
        Assert.StartsWith("mzxw6ytboi", new NodeId(bytes).ToString(), StringComparison.Ordinal);
        using var identity = NodeIdentity.Create();
        var hash = SHA256.HashData(identity.Certificate.PublicKey.ExportSubjectPublicKeyInfo());
        Assert.Equal(new NodeId(hash), identity.Id);
        Assert.Equal(identity.Id.ToString()[..10] + "…", identity.Id.Short);
    }

    [Fact]
    public void NodeId_AnyBytes_TextRoundTripsAndIsUnique() => Prop.ForAll<byte[]>(seed =>
    {
        var id = new NodeId(SHA256.HashData(seed));
        string text = id.ToString();
        return text.Length == NodeId.TextLength && NodeId.TryParse(text, out var same) && same == id
            && NodeId.TryParse(text.ToUpperInvariant(), out same) && same == id
            && !NodeId.TryParse(text[..^1] + "7", out _);
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void NodeId_Order_IsByteOrder() => Prop.ForAll<byte[], byte[]>((a, b) =>
    {
        byte[] left = SHA256.HashData(a), right = SHA256.HashData(b);
        return Math.Sign(new NodeId(left).CompareTo(new NodeId(right))) == Math.Sign(left.AsSpan().SequenceCompareTo(right));
    }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData("")]
    [InlineData("mzxw6ytboi")]
    [InlineData("1zxw6ytboi4444444444444444444444444444444444444444444444")]
    public void NodeId_BadText_IsRefused(string text) => Assert.False(NodeId.TryParse(text, out _));

    [Fact]
    public void KeyFile_FirstStart_IsMadeForTheOwnerAloneAndFoundAgain()
    {
        string home = Path.Combine(_directory, "new");
        using var first = NodeIdentity.LoadOrCreate(home);
        using var second = NodeIdentity.LoadOrCreate(home);
        Assert.Equal(first.Id, second.Id);
        Assert.True(second.Certificate.HasPrivateKey);
        string file = Assert.Single(Directory.GetFiles(home));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        Assert.Equal(first.DeriveSecret("a"), second.DeriveSecret("a"));
        Assert.NotEqual(first.DeriveSecret("a"), first.DeriveSecret("b"));
    }

    [Theory]
    [InlineData(UnixFileMode.GroupRead)]
    [InlineData(UnixFileMode.OtherRead)]
    [InlineData(UnixFileMode.OtherWrite)]
    public void KeyFile_UsableByOthers_IsRefusedWithTheFix(UnixFileMode extra)
    {
        NodeIdentity.LoadOrCreate(_directory).Dispose();
        string file = Assert.Single(Directory.GetFiles(_directory));
        File.SetUnixFileMode(file, File.GetUnixFileMode(file) | extra);
        var error = Assert.Throws<IdentityException>(() => NodeIdentity.LoadOrCreate(_directory));
        Assert.Contains($"chmod 600 '{file}'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void KeyFile_Damaged_IsRefusedAndNotReplaced()
    {
        NodeIdentity.LoadOrCreate(_directory).Dispose();
        string file = Assert.Single(Directory.GetFiles(_directory));
        string text = File.ReadAllText(file);
        File.WriteAllText(file, text[..(text.Length / 2)]);
        Assert.Throws<IdentityException>(() => NodeIdentity.LoadOrCreate(_directory));
        Assert.Equal(text[..(text.Length / 2)], File.ReadAllText(file));
    }

    [Fact]
    public void KeyFile_CannotBeWritten_IsSaidWithTheFixAndLeavesNoHalfKey()
    {
        // a folder below a file cannot be made, also not by root
        Directory.CreateDirectory(_directory);
        string file = Path.Combine(_directory, "file");
        File.WriteAllText(file, "");
        var error = Assert.Throws<IdentityException>(() => NodeIdentity.LoadOrCreate(Path.Combine(file, "below")));
        Assert.Contains("cannot be read or made", error.Message, StringComparison.Ordinal);
        // the last step fails: the key's name is taken by a link that leads nowhere
        string full = Path.Combine(_directory, "full");
        Directory.CreateDirectory(full);
        File.CreateSymbolicLink(Path.Combine(full, "identity.pem"), Path.Combine(full, "nowhere", "else"));
        Assert.Throws<IdentityException>(() => NodeIdentity.LoadOrCreate(full));
        Assert.Single(Directory.GetFileSystemEntries(full));
    }

    [Fact]
    public void KeyFile_TwoStartsAtOnce_AgreeOnOneKey()
    {
        var ids = new NodeId[32];
        Parallel.For(0, ids.Length, new ParallelOptions { MaxDegreeOfParallelism = ids.Length }, i =>
        {
            using var identity = NodeIdentity.LoadOrCreate(_directory);
            ids[i] = identity.Id;
        });
        Assert.Single(ids.Distinct());
        Assert.Single(Directory.GetFiles(_directory));
    }

    [Theory]
    [InlineData("seed.example.org", 4433, "abcDEF-_019", TransportKind.Quic)]
    [InlineData("192.0.2.7", 1, "t", TransportKind.Tcp)]
    [InlineData("2001:db8::1", 65535, "t", TransportKind.Quic)]
    public void JoinString_WellFormed_RoundTripsAndHidesItsToken(string host, int port, string token, TransportKind transport)
    {
        using var identity = NodeIdentity.Create();
        var join = new JoinString(identity.Id, host, port, token, transport);
        Assert.StartsWith(transport == TransportKind.Tcp ? "orion+tcp://" : "orion://", join.ToString(), StringComparison.Ordinal);
        Assert.True(JoinString.TryParse(join.Reveal(), out var same, out _));
        Assert.Equal(join, same);
        Assert.EndsWith($":{port}/…", join.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("http://x@h:1/t", "form")]
    [InlineData("orion+udp://NODE@h:1/secret", "form")]
    [InlineData("orion://NODE@h:1", "form")]
    [InlineData("orion://short@h:1/secret", "NodeId")]
    [InlineData("orion://NODE@h/secret", "host:port")]
    [InlineData("orion://NODE@h:0/secret", "host:port")]
    [InlineData("orion://NODE@h:65536/secret", "host:port")]
    [InlineData("orion://NODE@2001:db8::1:5/secret", "host:port")]
    [InlineData("orion://NODE@h:1/", "token")]
    [InlineData("orion://NODE@h:1/secret!", "token")]
    public void JoinString_Malformed_NamesThePartAndNeverTheToken(string text, string part)
    {
        using var identity = NodeIdentity.Create();
        text = text.Replace("NODE", identity.Id.ToString(), StringComparison.Ordinal);
        Assert.False(JoinString.TryParse(text, out _, out string? mistake));
        Assert.Contains(part, mistake, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", mistake, StringComparison.Ordinal);
    }

    [Fact]
    public void JoinString_MutatedText_NeverThrows()
    {
        using var identity = NodeIdentity.Create();
        string text = new JoinString(identity.Id, "2001:db8::1", 4433, "token").Reveal();
        var random = new System.Random(11);
        for (int i = 0; i < 20_000; i++)
        {
            var mutated = new StringBuilder(text);
            for (int edits = random.Next(1, 5); edits > 0; edits--)
            {
                int at = random.Next(mutated.Length);
                if (random.Next(3) == 0) mutated.Remove(at, 1);
                else mutated[at] = (char)random.Next(1, 256);
            }
            if (JoinString.TryParse(mutated.ToString(), out var join, out _)) Assert.True(JoinString.TryParse(join.Reveal(), out _, out _));
        }
    }
}
