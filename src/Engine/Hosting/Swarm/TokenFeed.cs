// The run's tokens, at the orchestrator: it alone opens the text. The ids of a microbatch go to the holder of stage 0 just
// before its grant, on the same ordered lane, in the form in which they then travel behind the code:
//   bytes a step = M*b*(T+1)*idBytes, for any model: 16 MB for a step of four million tokens
// Pieces of a request's size; the receiver writes each where it belongs, so that saying one twice changes nothing.
using System.Buffers.Binary;
using OrionNative.Engine.Data;
using OrionNative.Engine.Pipeline;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>Where a piece of a microbatch's ids belongs.</summary>
readonly record struct TokenPiece(int Step, int Microbatch, int Offset, int Bytes);

/// <summary>Reads the samples of a step as payload bytes. One thread uses it.</summary>
sealed class TokenFeed : IDisposable
{
    const int HeaderBytes = 13;
    const int PieceBytes = 60 << 10;

    readonly TokenDataset _data;
    readonly DatasetBatches _batches;
    readonly CodePayload _payload;
    readonly int[] _inputs;
    readonly int[] _targets;
    readonly byte[] _ids;

    /// <exception cref="IOException">The data cannot be read.</exception>
    public TokenFeed(ResolvedRun run)
    {
        _payload = CodePayload.Of(run.Model, run.Config);
        _data = DataPreparer.Open(run.Config.Data, run.Tokenizer, TrainingRun.CacheFolder, run.Config.Field);
        _batches = new DatasetBatches(new TokenWindows(_data, run.Config.Sequence), run.Config);
        (_inputs, _targets, _ids) = (new int[_payload.Rows], new int[_payload.Rows], new byte[_payload.IdsBytes]);
    }

    /// <summary>SHA-256 of the data's token shards.</summary>
    public string DataHash => _data.Hash;

    /// <summary>Tokens of the data.</summary>
    public long TokenCount => _data.TokenCount;

    /// <summary>The ids of a microbatch as request bodies, in order.</summary>
    /// <param name="step">From 1.</param>
    /// <param name="microbatch">From 0.</param>
    public IEnumerable<byte[]> Pieces(int step, int microbatch)
    {
        _batches.Fill(step - 1, microbatch, _inputs, _targets);
        _payload.WriteIds(_inputs, _targets, _ids);
        for (int offset = 0; offset < _ids.Length; offset += PieceBytes)
        {
            byte[] body = new byte[HeaderBytes + Math.Min(PieceBytes, _ids.Length - offset)];
            body[0] = (byte)ControlTag.Tokens;
            BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(1), step);
            BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(5), microbatch);
            BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(9), offset);
            _ids.AsSpan(offset, body.Length - HeaderBytes).CopyTo(body.AsSpan(HeaderBytes));
            yield return body;
        }
    }

    /// <summary>Reads a body of <see cref="Pieces"/>.</summary>
    /// <exception cref="InvalidDataException">It is too short to be one.</exception>
    public static TokenPiece Decode(ReadOnlySpan<byte> body, out ReadOnlySpan<byte> ids)
    {
        if (body.Length <= HeaderBytes)
        {
            throw new InvalidDataException($"a piece of a microbatch's ids has more than {HeaderBytes} bytes; got {body.Length}");
        }

        ids = body[HeaderBytes..];
        return new TokenPiece(BinaryPrimitives.ReadInt32LittleEndian(body[1..]), BinaryPrimitives.ReadInt32LittleEndian(body[5..]), BinaryPrimitives.ReadInt32LittleEndian(body[9..]), ids.Length);
    }

    /// <inheritdoc/>
    public void Dispose() => _data.Dispose();
}
