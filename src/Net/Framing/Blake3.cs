// The digest of a payload: BLAKE3 (default mode, 32 bytes), over memory that fills up from its beginning.
// A tree: chunks of 1024 bytes, each chained through blocks of 64; parents join pairs, the left subtree being the largest
// power of two chunks. Source: the BLAKE3 paper, sections 2.1 to 2.6; the functions keep its names.
// Sixteen chunks are hashed at once, one per lane of the widest vectors there are, while the bytes are still in cache: with
// 512 bits one core does two to three times the rate of SHA-256 with its instructions (decision 0021). The total length is
// known beforehand, so nothing is buffered. Invariant: 64 KiB groups join the tree only if more bytes follow, so no parent is ever the root.
using System.Numerics;
using System.Runtime.CompilerServices;

namespace OrionNative.Net.Framing;

sealed unsafe class Blake3(int lanes)
{
    public const int DigestBytes = 32;

    const int BlockBytes = 64, ChunkBytes = 1024, GroupChunks = 64, GroupBytes = GroupChunks * ChunkBytes;
    const int DepthMax = 54;
    const uint ChunkStart = 1, ChunkEnd = 2, Parent = 4, Root = 8;

    readonly int _lanes = lanes;
    readonly byte[] _stack = new byte[DepthMax * DigestBytes];
    int _depth;
    byte* _data;
    ulong _total, _hashed;

    /// <summary>With the widest vectors that this processor has.</summary>
    public Blake3()
        : this(Blake3Lanes.Widest) { }

    /// <summary>The digest of <paramref name="bytes"/> bytes, all there already.</summary>
    public static void Hash(byte* data, ulong bytes, Span<byte> digest)
    {
        Blake3 hash = _own ??= new Blake3();
        hash.Start(data, bytes);
        hash.Advance(bytes);
        hash.Finish(digest);
    }

    [ThreadStatic]
    static Blake3? _own;

    /// <summary>Begins the digest of <paramref name="total"/> bytes that will arrive at <paramref name="data"/>.</summary>
    public void Start(byte* data, ulong total)
    {
        _data = data;
        (_total, _hashed, _depth) = (total, 0, 0);
    }

    /// <summary>The first <paramref name="have"/> bytes are there.</summary>
    [SkipLocalsInit]
    public void Advance(ulong have)
    {
        byte* values = stackalloc byte[GroupChunks * DigestBytes];
        while (_hashed + GroupBytes <= have && _hashed + GroupBytes < _total)
        {
            ulong chunk = _hashed / ChunkBytes;
            for (int i = 0; i < GroupChunks; i += Blake3Lanes.Count)
                Blake3Lanes.Chunks(_lanes, _data + _hashed + ((ulong)i * ChunkBytes), chunk + (ulong)i, values + (i * DigestBytes));
            for (int count = GroupChunks; count > 1; count /= 2) Parents(values, count);
            _hashed += GroupBytes;
            Push(values, _hashed / GroupBytes);
        }
    }

    /// <summary>The digest, once all bytes are there.</summary>
    [SkipLocalsInit]
    public void Finish(Span<byte> digest)
    {
        Advance(_total);
        byte* values = stackalloc byte[GroupChunks * DigestBytes], odd = stackalloc byte[DigestBytes];
        uint* block = stackalloc uint[16];
        int count = Math.Max(1, (int)((_total - _hashed + ChunkBytes - 1) / ChunkBytes));
        if (count == 1 && _depth == 0) Chunk(_data, (int)_total, 0, Root, (uint*)values);
        else Rest(values, count);
        for (; count > 2 || (count == 2 && _depth > 0); count = (count + 1) / 2)
        {
            // an odd one out goes up as it is; it is put aside because unused lanes write over it
            Buffer.MemoryCopy(values + ((count - 1) * DigestBytes), odd, DigestBytes, DigestBytes);
            Parents(values, count);
            if (count % 2 == 1) Buffer.MemoryCopy(odd, values + (count / 2 * DigestBytes), DigestBytes, DigestBytes);
        }
        if (count == 2) Join(values, (uint*)values, Root);
        while (_depth > 0)
        {
            Pop((byte*)block);
            Buffer.MemoryCopy(values, block + 8, DigestBytes, DigestBytes);
            Join((byte*)block, (uint*)values, _depth == 0 ? Root : 0);
        }
        new ReadOnlySpan<byte>(values, DigestBytes).CopyTo(digest);
    }

    // The values of the chunks behind the last whole group, `count` of them, the last perhaps shorter.
    [SkipLocalsInit]
    void Rest(byte* values, int count)
    {
        ulong first = _hashed / ChunkBytes;
        int whole = (int)((_total - _hashed) / ChunkBytes), done = 0;
        for (; whole - done >= Blake3Lanes.Count; done += Blake3Lanes.Count)
            Blake3Lanes.Chunks(_lanes, _data + _hashed + (done * ChunkBytes), first + (ulong)done, values + (done * DigestBytes));
        if (whole > done)
        {
            // the lanes read sixteen chunks, so what there is goes where sixteen may be read; the others' values are not used
            byte* few = stackalloc byte[Blake3Lanes.Count * ChunkBytes];
            Buffer.MemoryCopy(_data + _hashed + (done * ChunkBytes), few, Blake3Lanes.Count * ChunkBytes, (whole - done) * ChunkBytes);
            Blake3Lanes.Chunks(_lanes, few, first + (ulong)done, values + (done * DigestBytes));
        }
        if (count > whole) Chunk(_data + _hashed + (whole * ChunkBytes), (int)(_total - _hashed) - (whole * ChunkBytes), first + (ulong)whole, 0, (uint*)(values + (whole * DigestBytes)));
    }

    // Joins a finished subtree to the stack; `finished` counts the subtrees of its size so far.
    void Push(byte* value, ulong finished)
    {
        uint* block = stackalloc uint[16];
        uint* joined = stackalloc uint[8];
        Buffer.MemoryCopy(value, joined, DigestBytes, DigestBytes);
        for (int merges = BitOperations.TrailingZeroCount(finished); merges > 0; merges--)
        {
            Pop((byte*)block);
            Buffer.MemoryCopy(joined, block + 8, DigestBytes, DigestBytes);
            Join((byte*)block, joined, 0);
        }
        new ReadOnlySpan<byte>(joined, DigestBytes).CopyTo(_stack.AsSpan(_depth++ * DigestBytes));
    }

    void Pop(byte* value) => _stack.AsSpan(--_depth * DigestBytes, DigestBytes).CopyTo(new Span<byte>(value, DigestBytes));

    // In place. The lanes join sixteen pairs or none: the unused ones hash what lies behind, which a
    // group always owns, and cost less than two compressions one by one.
    void Parents(byte* values, int count)
    {
        for (int i = 0; i < count; i += 2 * Blake3Lanes.Count)
            Blake3Lanes.Parents(_lanes, values + (i * DigestBytes), values + (i / 2 * DigestBytes), Parent);
    }

    static void Join(byte* block, uint* value, uint root)
    {
        uint* state = stackalloc uint[8];
        Blake3Block.Key(state);
        Blake3Block.Compress(state, block, 0, BlockBytes, Parent | root);
        Buffer.MemoryCopy(state, value, DigestBytes, DigestBytes);
    }

    static void Chunk(byte* data, int bytes, ulong index, uint root, uint* value)
    {
        byte* tail = stackalloc byte[BlockBytes];
        Blake3Block.Key(value);
        uint start = ChunkStart;
        for (; bytes > BlockBytes; bytes -= BlockBytes, data += BlockBytes, start = 0)
            Blake3Block.Compress(value, data, index, BlockBytes, start);
        new Span<byte>(tail, BlockBytes).Clear();
        Buffer.MemoryCopy(data, tail, BlockBytes, bytes);
        Blake3Block.Compress(value, tail, index, (uint)bytes, start | ChunkEnd | root);
    }
}
