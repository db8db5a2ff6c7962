// One BLAKE3 compression in plain integers: the tail of a message, short messages, and the oracle for the vector lanes.
// Seven rounds of the quarter-round G over a 4x4 state, first its columns, then its diagonals; the message words are
// permuted between rounds (the paper's table 2, written out). Words are little-endian, as is every machine this runs on.
using System.Numerics;

namespace OrionNative.Net.Framing;

static unsafe class Blake3Block
{
    public const uint Iv0 = 0x6A09E667, Iv1 = 0xBB67AE85, Iv2 = 0x3C6EF372, Iv3 = 0xA54FF53A;
    const uint Iv4 = 0x510E527F, Iv5 = 0x9B05688C, Iv6 = 0x1F83D9AB, Iv7 = 0x5BE0CD19;

    /// <summary>Message words of each round, 16 a round.</summary>
    public static ReadOnlySpan<byte> Schedule =>
    [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8,
        3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1,
        10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6,
        12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4,
        9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7,
        11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13,
    ];

    public const int ScheduleBytes = 7 * 16;

    /// <summary>The chaining value that every chunk and parent starts from.</summary>
    public static void Key(uint* value) =>
        (value[0], value[1], value[2], value[3], value[4], value[5], value[6], value[7]) = (Iv0, Iv1, Iv2, Iv3, Iv4, Iv5, Iv6, Iv7);

    /// <summary>value = the first half of compress(value, block, counter, bytes, flags).</summary>
    public static void Compress(uint* value, byte* block, ulong counter, uint bytes, uint flags)
    {
        uint* m = (uint*)block;
        uint* v = stackalloc uint[16]
        {
            value[0], value[1], value[2], value[3], value[4], value[5], value[6], value[7],
            Iv0, Iv1, Iv2, Iv3, (uint)counter, (uint)(counter >> 32), bytes, flags,
        };
        for (int round = 0; round < ScheduleBytes; round += 16)
        {
            ReadOnlySpan<byte> s = Schedule.Slice(round, 16);
            G(ref v[0], ref v[4], ref v[8], ref v[12], m[s[0]], m[s[1]]);
            G(ref v[1], ref v[5], ref v[9], ref v[13], m[s[2]], m[s[3]]);
            G(ref v[2], ref v[6], ref v[10], ref v[14], m[s[4]], m[s[5]]);
            G(ref v[3], ref v[7], ref v[11], ref v[15], m[s[6]], m[s[7]]);
            G(ref v[0], ref v[5], ref v[10], ref v[15], m[s[8]], m[s[9]]);
            G(ref v[1], ref v[6], ref v[11], ref v[12], m[s[10]], m[s[11]]);
            G(ref v[2], ref v[7], ref v[8], ref v[13], m[s[12]], m[s[13]]);
            G(ref v[3], ref v[4], ref v[9], ref v[14], m[s[14]], m[s[15]]);
        }
        for (int i = 0; i < 8; i++) value[i] = v[i] ^ v[i + 8];
    }

    static void G(ref uint a, ref uint b, ref uint c, ref uint d, uint x, uint y)
    {
        a += b + x;
        d = BitOperations.RotateRight(d ^ a, 16);
        c += d;
        b = BitOperations.RotateRight(b ^ c, 12);
        a += b + y;
        d = BitOperations.RotateRight(d ^ a, 8);
        c += d;
        b = BitOperations.RotateRight(b ^ c, 7);
    }
}
