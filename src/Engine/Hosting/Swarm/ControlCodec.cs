// How control messages travel: one byte that says who speaks, then JSON {"kind", "body", ...}. What is said for every
// microbatch, and the signs of life, are fixed bytes instead (ControlCodec.Fixed.cs), and so is what lists peers
// (ControlCodec.Lists.cs). What cannot be read is an InvalidDataException that names it.
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>First byte of a request between processes of a run.</summary>
enum ControlTag : byte
{
    /// <summary>A newcomer shows its token and asks what the run is; status 0: the response is the description.</summary>
    Describe = 1,

    /// <summary>A <see cref="PeerMessage"/> to the orchestrator.</summary>
    FromPeer = 2,

    /// <summary>An <see cref="OrchestratorMessage"/> to a peer.</summary>
    FromOrchestrator = 3,

    /// <summary>A <see cref="WorkMessage"/> without payload between peers.</summary>
    Work = 4,

    /// <summary>A replica asks another for the state of a step.</summary>
    StateAsked = 5,

    /// <summary>Ids of a granted microbatch, to a holder of stage 0: a <see cref="TokenPiece"/>.</summary>
    Tokens = 6,

    /// <summary>A <see cref="Swarm.FileAsked"/> to the orchestrator; status 0: it is on its way.</summary>
    FileAsked = 7,

    /// <summary>A <see cref="Swarm.FileOffered"/> to the orchestrator; status 0: send it.</summary>
    FileOffered = 8,

    /// <summary>A <see cref="PeerMessage.Contributed"/> to the orchestrator.</summary>
    Contributed = 9,

    /// <summary>A <see cref="PeerMessage.Heartbeat"/> to the orchestrator.</summary>
    Heartbeat = 10,

    /// <summary>A <see cref="Swarm.PeerTold"/> to the orchestrator, before a heartbeat and after an applied step.</summary>
    Figures = 11,

    /// <summary>An <see cref="OrchestratorMessage.Grant"/> to a holder of stage 0.</summary>
    Grant = 12,

    /// <summary>An <see cref="OrchestratorMessage.Pulse"/> to a peer.</summary>
    Pulse = 13,

    /// <summary>An <see cref="OrchestratorMessage.Placed"/> or <see cref="OrchestratorMessage.Welcome"/> to a peer.</summary>
    Placement = 14,

    /// <summary>An <see cref="OrchestratorMessage.Reduce"/> to a peer.</summary>
    Reduce = 15,
}

static partial class ControlCodec
{
    /// <summary>What a record's type demands is demanded of the wire too: no part is missing, none is null that may not be.</summary>
    public static JsonSerializerOptions Strict { get; } = new() { RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true };

    static readonly JsonSerializerOptions _options = new(Strict) { Converters = { new PeerIdConverter(), new MicrobatchSetConverter(), new NumbersConverter() }, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals };

    /// <summary>A message with whatever travels beside it.</summary>
    public static byte[] Encode<T>(ControlTag tag, T message, JsonObject? beside = null) where T : class
    {
        JsonObject envelope = Envelope(message);
        if (beside is not null)
        {
            envelope["beside"] = beside;
        }

        byte[] json = JsonSerializer.SerializeToUtf8Bytes(envelope, _options);
        return [(byte)tag, .. json];
    }

    /// <summary>What the orchestrator tells a peer, in the form of its kind.</summary>
    /// <param name="message">The message.</param>
    /// <param name="addressOf">Where others dial a member, if they were told.</param>
    public static byte[] EncodeToPeer(OrchestratorMessage message, Func<PeerId, string?> addressOf) => message switch
    {
        OrchestratorMessage.Grant grant => Encode(grant),
        OrchestratorMessage.Pulse => [(byte)ControlTag.Pulse],
        OrchestratorMessage.Placed placed => EncodePlacement(0, placed.Placement, addressOf),
        OrchestratorMessage.Welcome welcome => EncodePlacement(welcome.Term, welcome.Placement, addressOf),
        OrchestratorMessage.Reduce reduce => EncodeReduce(reduce),
        _ => Encode(ControlTag.FromOrchestrator, message),
    };

    /// <summary>The text of a message, for a log that is read back.</summary>
    public static string Text<T>(T message) where T : class => Envelope(message).ToJsonString(_options);

    static JsonObject Envelope<T>(T message) where T : class => new()
    {
        ["kind"] = message.GetType().Name,
        ["body"] = JsonSerializer.SerializeToNode(message, message.GetType(), _options),
    };

    /// <summary>Reads what <see cref="Encode{T}"/> wrote after its tag, or <see cref="Text"/>.</summary>
    public static (T Message, JsonObject? Beside) Decode<T>(ReadOnlySpan<byte> json) where T : class
    {
        try
        {
            JsonObject envelope = JsonNode.Parse(json)!.AsObject();
            string kind = (string)envelope["kind"]!;
            Type type = typeof(T).GetNestedType(kind) ?? throw new InvalidDataException($"a {typeof(T).Name} of kind '{kind}' is unknown");
            return ((T)envelope["body"].Deserialize(type, _options)!, envelope["beside"]?.AsObject());
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or NullReferenceException or ArgumentException or FormatException)
        {
            throw new InvalidDataException($"a {typeof(T).Name} of {json.Length} bytes cannot be read: {error.Message}", error);
        }
    }

    sealed class PeerIdConverter : JsonConverter<PeerId>
    {
        public override PeerId Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            reader.GetString() is not { Length: > 0 } text ? PeerId.None
            : PeerId.TryParse(text, out PeerId id) ? id
            : throw new JsonException($"'{text}' is not a peer id");

        public override void Write(Utf8JsonWriter writer, PeerId value, JsonSerializerOptions options) =>
            writer.WriteStringValue(value.IsNone ? "" : value.ToString());
    }

    // Numbers of every microbatch or tensor, as the bytes that they are: 11 letters each, where decimals take 20.
    sealed class NumbersConverter : JsonConverter<ImmutableArray<double>>
    {
        public override ImmutableArray<double> Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
        {
            byte[] bytes = reader.GetBytesFromBase64();
            return bytes.Length % sizeof(double) == 0 ? [.. MemoryMarshal.Cast<byte, double>(bytes)]
                : throw new JsonException($"{bytes.Length} bytes are no whole count of numbers");
        }

        public override void Write(Utf8JsonWriter writer, ImmutableArray<double> value, JsonSerializerOptions options) =>
            writer.WriteBase64StringValue(MemoryMarshal.AsBytes(value.AsSpan()));
    }

    // [capacity, member, member, ...]; of a long step and not sparse: {"of": capacity, "bits": one bit each, lowest first}
    sealed class MicrobatchSetConverter : JsonConverter<MicrobatchSet>
    {
        const int MicrobatchesMax = 1 << 20;
        const int LongStep = 512;

        public override MicrobatchSet Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
        {
            if (reader.TokenType == JsonTokenType.StartObject)
            {
                JsonNode bits = JsonNode.Parse(ref reader)!;
                return OfBits((int)bits["of"]!, Convert.FromBase64String((string)bits["bits"]!));
            }

            int[] numbers = JsonSerializer.Deserialize<int[]>(ref reader, options) is { Length: > 0 } read && read[0] is >= 0 and <= MicrobatchesMax ? read
                : throw new JsonException($"a set of microbatches begins with its capacity, at most {MicrobatchesMax}");
            return MicrobatchSet.Of(numbers[0], numbers.AsSpan(1));
        }

        static MicrobatchSet OfBits(int capacity, byte[] bits)
        {
            MicrobatchSet set = capacity is >= 0 and <= MicrobatchesMax && bits.Length == (capacity + 7) / 8 ? new(capacity)
                : throw new JsonException($"{bits.Length} bytes are no set of {capacity} microbatches, at most {MicrobatchesMax}");
            for (int m = 0; m < capacity; m++)
            {
                if ((bits[m / 8] >> (m % 8) & 1) != 0)
                {
                    set.Add(m);
                }
            }

            return set;
        }

        static void WriteBits(Utf8JsonWriter writer, MicrobatchSet value)
        {
            byte[] bits = new byte[(value.Capacity + 7) / 8];
            for (int m = value.Next(0); m >= 0; m = value.Next(m + 1))
            {
                bits[m / 8] |= (byte)(1 << (m % 8));
            }

            writer.WriteStartObject();
            writer.WriteNumber("of", value.Capacity);
            writer.WriteBase64String("bits", bits);
            writer.WriteEndObject();
        }

        public override void Write(Utf8JsonWriter writer, MicrobatchSet value, JsonSerializerOptions options)
        {
            if (value.Capacity > LongStep && value.Count > value.Capacity / 32)
            {
                WriteBits(writer, value);
                return;
            }

            writer.WriteStartArray();
            writer.WriteNumberValue(value.Capacity);
            for (int m = value.Next(0); m >= 0; m = value.Next(m + 1))
            {
                writer.WriteNumberValue(m);
            }

            writer.WriteEndArray();
        }
    }
}
