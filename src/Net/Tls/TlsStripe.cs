// One TCP connection of a link. Two buffers out: the loop fills one while the other is being written. In: whole Data frames
// are read into chunks, which the loop delivers and gives back. Both directions run as tasks; everything they find goes to
// the loop as a note.
// Invariant: a buffer belongs either to the loop or to the writing task, a chunk either to the reading task or to the loop.
using System.Net.Security;
using System.Net.Sockets;

namespace OrionNative.Net.Tls;

/// <summary>A Data frame with its body.</summary>
sealed class Chunk
{
    public readonly byte[] Body = GC.AllocateUninitializedArray<byte>(TlsFrame.BodyBytesMax, pinned: true);
    public TlsFrame Frame;
}

sealed class SendBuffer
{
    public readonly byte[] Data = GC.AllocateUninitializedArray<byte>(TlsFrame.Bytes + TlsFrame.BodyBytesMax, pinned: true);
    public int Bytes;
}

sealed class TlsStripe : IDisposable
{
    bool _disposed;

    readonly TlsEndpoint _endpoint;
    readonly TlsConnection _connection;
    readonly SslStream _stream;
    readonly Queue<SendBuffer> _full = new(2);
    readonly SemaphoreSlim _work = new(0);
    readonly CancellationTokenSource _end = new();

    public TlsStripe(TlsEndpoint endpoint, TlsConnection connection, int index, Socket socket, SslStream stream)
    {
        (_endpoint, _connection, Index, Socket, _stream) = (endpoint, connection, index, socket, stream);
        for (int i = 0; i < 2; i++) Free.Push(new SendBuffer());
    }

    public int Index { get; }

    public Socket Socket { get; }

    /// <summary>Buffers that the loop may fill.</summary>
    public Stack<SendBuffer> Free { get; } = new(2);

    public void Start()
    {
        _ = ReadAsync();
        _ = WriteAsync();
    }

    /// <summary>Writes a buffer; it comes back to <see cref="Free"/> through a note.</summary>
    public void Send(SendBuffer buffer)
    {
        lock (_full) _full.Enqueue(buffer);
        _work.Release();
    }

    async Task WriteAsync()
    {
        try
        {
            while (true)
            {
                await _work.WaitAsync(_end.Token).ConfigureAwait(false);
                SendBuffer buffer;
                lock (_full) buffer = _full.Dequeue();
                await _stream.WriteAsync(buffer.Data.AsMemory(0, buffer.Bytes), _end.Token).ConfigureAwait(false);
                _endpoint.Post(new LoopNote(LoopNoteKind.Written, _connection, this, Buffer: buffer));
            }
        }
        catch (Exception failure) when (failure is IOException or OperationCanceledException or ObjectDisposedException or SocketException)
        {
            _endpoint.Post(new LoopNote(LoopNoteKind.StripeFailed, _connection, this, Failure: failure));
        }
    }

    async Task ReadAsync()
    {
        byte[] header = new byte[TlsFrame.Bytes];
        try
        {
            while (true)
            {
                await _stream.ReadExactlyAsync(header, _end.Token).ConfigureAwait(false);
                TlsFrame frame = TlsFrame.Decode(header);
                _connection.Expect(frame);
                Chunk? chunk = null;
                if (frame.Type == TlsFrameType.Data)
                {
                    chunk = _endpoint.RentChunk();
                    chunk.Frame = frame;
                    await _stream.ReadExactlyAsync(chunk.Body.AsMemory(0, frame.BodyBytes), _end.Token).ConfigureAwait(false);
                }
                _endpoint.Post(new LoopNote(LoopNoteKind.Frame, _connection, this, Chunk: chunk, Frame: frame));
            }
        }
        catch (Exception failure) when (failure is IOException or OperationCanceledException or ObjectDisposedException or SocketException or InvalidDataException)
        {
            _endpoint.Post(new LoopNote(LoopNoteKind.StripeFailed, _connection, this, Failure: failure));
        }
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _end.Cancel();
        _stream.Dispose();
        _end.Dispose();
        _work.Dispose();
    }
}
