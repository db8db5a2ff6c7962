// The digest against the published vectors (BLAKE3-team/BLAKE3, test_vectors.json: byte i is i mod 251), and against itself
// when the bytes arrive in pieces: where a group ends must not show. Each with vectors of 16, 8 and 4 lanes: what this
// processor has no instructions for the runtime computes in halves, so all three run everywhere.
using System.Runtime.InteropServices;
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

public unsafe class Blake3Tests
{
    static readonly int[] _widths = [16, 8, 4];

    [Theory]
    [InlineData(0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262")]
    [InlineData(1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213")]
    [InlineData(1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11")]
    [InlineData(1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7")]
    [InlineData(1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444")]
    [InlineData(2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a")]
    [InlineData(3073, "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3")]
    [InlineData(8192, "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63")]
    [InlineData(16384, "f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4")]
    [InlineData(31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47")]
    [InlineData(102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085")]
    public void PublishedVector_Hashed_Matches(int bytes, string expected)
    {
        foreach (int lanes in _widths) Assert.Equal((lanes, expected), (lanes, HashOf(lanes, bytes, [bytes])));
    }

    // Plain recursion over the definition, with Blake3Block only, is the oracle for lengths that no vector covers.
    [Theory]
    [InlineData(16385)]
    [InlineData(65536)]
    [InlineData(65537)]
    [InlineData(131072)]
    [InlineData(197 * 1024)]
    [InlineData((1 << 20) + 77)]
    public void AnyLength_InPieces_MatchesTheDefinition(int bytes)
    {
        byte* data = Memory(bytes);
        try
        {
            uint* root = stackalloc uint[8];
            Tree(data, bytes, 0, true, root);
            string expected = Convert.ToHexStringLower(new ReadOnlySpan<byte>(root, 32));
            var random = new Random(bytes);
            int[] pieces = new int[200];
            for (int i = 0; i < pieces.Length; i++) pieces[i] = random.Next(1, bytes + 1);
            Array.Sort(pieces);
            foreach (int lanes in _widths)
            {
                Assert.Equal((lanes, expected), (lanes, HashOf(lanes, bytes, [bytes])));
                Assert.Equal((lanes, expected), (lanes, HashOf(lanes, bytes, pieces)));
            }
        }
        finally
        {
            NativeMemory.Free(data);
        }
    }

    // Every number of chunks up to two groups and a bit, with and without a shorter one at the end: the tree's odd branches.
    [Fact]
    public void EveryNumberOfChunks_Hashed_MatchesTheDefinition()
    {
        uint* root = stackalloc uint[8];
        for (int chunks = 1; chunks <= 140; chunks++)
        {
            foreach (int bytes in new[] { (chunks * 1024) - 1, chunks * 1024, (chunks * 1024) + 1 })
            {
                byte* data = Memory(bytes);
                Tree(data, bytes, 0, true, root);
                NativeMemory.Free(data);
                string expected = Convert.ToHexStringLower(new ReadOnlySpan<byte>(root, 32));
                foreach (int lanes in _widths) Assert.Equal((bytes, lanes, expected), (bytes, lanes, HashOf(lanes, bytes, [bytes])));
            }
        }
    }

    // The index of a chunk has 64 bits: the lanes of one call may lie on both sides of 2^32.
    [Fact]
    public void ChunksAroundFourBillion_EachWidth_AreThoseOfTheDefinition()
    {
        byte* data = Memory(Blake3Lanes.Count * 1024), values = stackalloc byte[Blake3Lanes.Count * 32];
        uint* expected = stackalloc uint[8];
        const ulong first = (1ul << 32) - 5;
        foreach (int lanes in _widths)
        {
            Blake3Lanes.Chunks(lanes, data, first, values);
            for (int i = 0; i < Blake3Lanes.Count; i++)
            {
                Tree(data + (i * 1024), 1024, first + (ulong)i, false, expected);
                Assert.Equal(new ReadOnlySpan<byte>(expected, 32).ToArray(), new ReadOnlySpan<byte>(values + (i * 32), 32).ToArray());
            }
        }
        NativeMemory.Free(data);
    }

    static string HashOf(int lanes, int bytes, int[] pieces)
    {
        byte* data = Memory(bytes);
        try
        {
            var hash = new Blake3(lanes);
            hash.Start(data, (ulong)bytes);
            foreach (int have in pieces) hash.Advance((ulong)have);
            byte[] digest = new byte[32];
            hash.Finish(digest);
            return Convert.ToHexStringLower(digest);
        }
        finally
        {
            NativeMemory.Free(data);
        }
    }

    static byte* Memory(int bytes)
    {
        byte* data = (byte*)NativeMemory.Alloc((nuint)bytes + 1);
        for (int i = 0; i < bytes; i++) data[i] = (byte)(i % 251);
        return data;
    }

    static void Tree(byte* data, int bytes, ulong firstChunk, bool root, uint* value)
    {
        byte* block = stackalloc byte[64];
        Blake3Block.Key(value);
        if (bytes <= 1024)
        {
            for (int at = 0; at == 0 || at < bytes; at += 64)
            {
                int size = Math.Min(64, bytes - at);
                new Span<byte>(block, 64).Clear();
                new ReadOnlySpan<byte>(data + at, size).CopyTo(new Span<byte>(block, 64));
                bool last = at + 64 >= bytes;
                Blake3Block.Compress(value, block, firstChunk, (uint)size, (at == 0 ? 1u : 0) | (last ? 2u : 0) | (last && root ? 8u : 0));
            }
            return;
        }
        int left = 1024;
        while (left * 2 < bytes) left *= 2;
        Tree(data, left, firstChunk, false, (uint*)block);
        Tree(data + left, bytes - left, firstChunk + (ulong)(left / 1024), false, (uint*)(block + 32));
        Blake3Block.Compress(value, block, 0, 64, 4u | (root ? 8u : 0));
    }
}
