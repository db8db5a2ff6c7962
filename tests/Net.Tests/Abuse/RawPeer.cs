// A peer with a valid key whose lanes carry whatever bytes a test wants: the transport below it is honest, what it says is not.
// It understands enough of the control lane to know which slots it was granted.
using System.Buffers.Binary;
using System.Net;
using System.Runtime.InteropServices;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;
using OrionNative.Net.Tests.Links;
using OrionNative.Net.Tls;

namespace OrionNative.Net.Tests.Abuse;

sealed class RawPeer : ITransportUser, IDisposable
{
    const int LaneCount = 4;

    readonly ITransportEndpoint _endpoint;
    readonly ITransportEndpoint? _owned;
    readonly Lock _gate = new();
    readonly Queue<byte[]>[] _out = [new(), new(), new(), new()];
    readonly List<byte> _control = [];
    readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource<CloseReason> _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly int[] _at = new int[LaneCount];
    readonly List<GCHandle> _pins = [];
    ITransportConnection? _connection;
    long _answers;

    public RawPeer(AbusedServer server, TransportKind kind, NodeIdentity identity, int windowBytes = 64 << 20, IPEndPoint? through = null, IPAddress? from = null)
    {
        _owned = _endpoint = Endpoint(kind, identity, windowBytes, from);
        _endpoint.Dial(through ?? server.Address(kind), server.Id, this);
    }

    /// <summary>One more connection of an endpoint that outlives it.</summary>
    public RawPeer(AbusedServer server, ITransportEndpoint endpoint)
    {
        _endpoint = endpoint;
        _endpoint.Dial(server.Address(endpoint.Kind), server.Id, this);
    }

    public Task Opened => _opened.Task;

    public Task<CloseReason> Closed => _closed.Task;

    /// <summary>Slots that the server granted and nothing here has used, by lane.</summary>
    public Queue<uint>[] Granted { get; } = [new(), new(), new(), new()];

    /// <summary>Answers of the server so far.</summary>
    public long Answers => Interlocked.Read(ref _answers);

    public static ITransportEndpoint Endpoint(TransportKind kind, NodeIdentity identity, int windowBytes = 64 << 20, IPAddress? from = null)
    {
        var listen = new IPEndPoint(from ?? IPAddress.Loopback, 0);
        TimeSpan idle = TimeSpan.FromSeconds(60);
        return kind == TransportKind.Quic
            ? new QuicEndpoint(identity, new QuicOptions { Listen = listen, WindowBytes = windowBytes, IdleTimeout = idle })
            : new TlsEndpoint(identity, new TlsOptions { Listen = listen, IdleTimeout = idle });
    }

    public static byte[] Hello(UInt128? run = null)
    {
        byte[] wire = Control(new ControlFrame(ControlFrameType.Hello) { Status = MessageHeader.Version, BodyBytes = 16 }, 16);
        BinaryPrimitives.WriteUInt128LittleEndian(wire.AsSpan(ControlFrame.Bytes), run ?? LinkedPair.Run);
        return wire;
    }

    public static byte[] Control(ControlFrame frame, int bodyBytes = 0)
    {
        byte[] wire = new byte[ControlFrame.Bytes + bodyBytes];
        frame.Encode(wire);
        return wire;
    }

    public static byte[] Data(DataFrameType type, uint slot, ulong value, int bodyBytes = 0)
    {
        byte[] wire = new byte[DataFrame.Bytes + bodyBytes];
        new DataFrame(type, slot, value).Encode(wire);
        return wire;
    }

    public static byte[] Begin(uint slot, ulong id, MessageHeader header)
    {
        byte[] wire = Data(DataFrameType.Begin, slot, id, MessageHeader.Bytes);
        header.Encode(wire.AsSpan(DataFrame.Bytes));
        return wire;
    }

    public void Send(Lane lane, byte[] bytes)
    {
        lock (_gate) _out[(int)lane].Enqueue(bytes);
        _connection?.Wake();
    }

    /// <summary>A slot that the server granted for a lane.</summary>
    public async Task<uint> SlotAsync(Lane lane)
    {
        while (true)
        {
            lock (_gate)
                if (Granted[(int)lane].TryDequeue(out uint slot)) return slot;
            if (Closed.IsCompleted) throw new IOException((await Closed).Text);
            await Task.Delay(1);
        }
    }

    void ITransportUser.Opened(ITransportConnection connection)
    {
        _connection = connection;
        _opened.TrySetResult();
        connection.Wake();
    }

    void ITransportUser.Closed(ITransportConnection connection, CloseReason reason) => _closed.TrySetResult(reason);

    unsafe nuint ILaneSource.Peek(Lane lane, out byte* data)
    {
        data = null;
        lock (_gate)
        {
            if (!_out[(int)lane].TryPeek(out byte[]? bytes)) return 0;
            if (_at[(int)lane] == 0) _pins.Add(GCHandle.Alloc(bytes, GCHandleType.Pinned)); // a retransmission reads it again
            data = (byte*)Marshal.UnsafeAddrOfPinnedArrayElement(bytes, _at[(int)lane]);
            return (nuint)(bytes.Length - _at[(int)lane]);
        }
    }

    void ILaneSource.Advance(Lane lane, nuint bytes)
    {
        lock (_gate)
        {
            _at[(int)lane] += (int)bytes;
            if (_at[(int)lane] < _out[(int)lane].Peek().Length) return;
            _out[(int)lane].Dequeue();
            _at[(int)lane] = 0;
        }
    }

    void ILaneSource.Acknowledged(Lane lane, nuint bytes) { }

    unsafe void ILaneSink.Receive(Lane lane, byte* data, nuint bytes)
    {
        if (lane != Lane.Control) return;
        _control.AddRange(new ReadOnlySpan<byte>(data, (int)bytes));
        while (_control.Count >= ControlFrame.Bytes)
        {
            ControlFrame frame = ControlFrame.Decode(CollectionsMarshal.AsSpan(_control));
            int whole = ControlFrame.Bytes + (int)frame.BodyBytes;
            if (_control.Count < whole) return;
            _control.RemoveRange(0, whole);
            if (frame.Type == ControlFrameType.Answer) Interlocked.Increment(ref _answers);
            if (frame.Type != ControlFrameType.Grant) continue;
            lock (_gate) Granted[(int)frame.Lane].Enqueue(frame.Slot);
        }
    }

    public void Dispose()
    {
        _connection?.Close("done");
        _owned?.Dispose();
        if (_connection is not null) Closed.Wait();
        foreach (GCHandle pin in _pins) pin.Free();
    }
}
