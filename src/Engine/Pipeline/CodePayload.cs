// What crosses a boundary with a microbatch going forward: the packed code, then the token ids of each sequence, T inputs
// and the one that follows, because an anchored receiver embeds them and the last stage predicts them.
//   bytes = code(format, B*T, Z) + B*(T+1)*idBytes      idBytes 1, 2 or 4 by the vocabulary
// Going back: the packed code gradient alone.
using System.Buffers.Binary;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Pipeline;

/// <summary>Sizes and ids of a boundary's payloads.</summary>
/// <param name="Format">How the code travels.</param>
/// <param name="Sequences">B.</param>
/// <param name="Tokens">T.</param>
/// <param name="Width">Values a token: Z, or C at ratio 1.</param>
/// <param name="IdBytes">Bytes of one token id.</param>
readonly record struct CodePayload(WireFormat Format, int Sequences, int Tokens, int Width, int IdBytes)
{
    /// <summary>The payload of a run's boundaries.</summary>
    public static CodePayload Of(ModelConfig model, RunConfig run) => new(
        run.Wire, run.MicrobatchSize, run.Sequence, model.BoundaryWidth,
        model.Vocabulary <= 1 << 8 ? 1 : model.Vocabulary <= 1 << 16 ? 2 : 4);

    /// <summary>R = B*T.</summary>
    public int Rows => Sequences * Tokens;

    /// <summary>Bytes of the packed code, which is also all of a gradient.</summary>
    public int CodeBytes => checked((int)CodeWire.Bytes(Format, Rows, Width));

    /// <summary>Bytes of the ids.</summary>
    public int IdsBytes => Sequences * (Tokens + 1) * IdBytes;

    /// <summary>Bytes of a forward payload.</summary>
    public int ForwardBytes => CodeBytes + IdsBytes;

    /// <summary>Writes the ids behind a code.</summary>
    public void WriteIds(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, Span<byte> ids)
    {
        int at = 0;
        for (int sequence = 0; sequence < Sequences; sequence++)
        {
            ReadOnlySpan<int> row = inputs.Slice(sequence * Tokens, Tokens);
            foreach (int id in row)
            {
                Write(ids, at++, id);
            }

            Write(ids, at++, targets[(sequence * Tokens) + Tokens - 1]);
        }
    }

    /// <summary>Reads inputs and targets back.</summary>
    /// <exception cref="InvalidDataException">An id is outside the vocabulary.</exception>
    public void ReadIds(ReadOnlySpan<byte> ids, int vocabulary, Span<int> inputs, Span<int> targets)
    {
        for (int sequence = 0; sequence < Sequences; sequence++)
        {
            int first = sequence * (Tokens + 1);
            for (int token = 0; token <= Tokens; token++)
            {
                int id = Read(ids, first + token);
                if ((uint)id >= (uint)vocabulary)
                {
                    throw new InvalidDataException($"token id {id} in a received microbatch is outside the vocabulary of {vocabulary}");
                }

                if (token < Tokens)
                {
                    inputs[(sequence * Tokens) + token] = id;
                }

                if (token > 0)
                {
                    targets[(sequence * Tokens) + token - 1] = id;
                }
            }
        }
    }

    void Write(Span<byte> ids, int index, int id)
    {
        switch (IdBytes)
        {
            case 1:
                ids[index] = (byte)id;
                break;
            case 2:
                BinaryPrimitives.WriteUInt16LittleEndian(ids[(2 * index)..], (ushort)id);
                break;
            default:
                BinaryPrimitives.WriteInt32LittleEndian(ids[(4 * index)..], id);
                break;
        }
    }

    int Read(ReadOnlySpan<byte> ids, int index) => IdBytes switch
    {
        1 => ids[index],
        2 => BinaryPrimitives.ReadUInt16LittleEndian(ids[(2 * index)..]),
        _ => BinaryPrimitives.ReadInt32LittleEndian(ids[(4 * index)..]),
    };
}
