// A relay of datagrams between one listener and its diallers, for tests that look at the wire or cut it. No rates and no
// delays: it forwards, drops or records. Each dialler gets a socket of its own towards the listener, which can be changed in
// flight, as an address translator does.
using System.Net;
using System.Net.Sockets;

namespace OrionNative.Net.Tests;

sealed class QuicTestRelay : IDisposable
{
    readonly Socket _front = Bind();
    readonly IPEndPoint _listener;
    readonly Dictionary<IPEndPoint, Socket> _backs = [];
    readonly Lock _gate = new();
    volatile bool _stopping;

    public QuicTestRelay(IPEndPoint listener)
    {
        _listener = listener;
        Start(Forth);
    }

    public IPEndPoint Address => (IPEndPoint)_front.LocalEndPoint!;

    /// <summary>Sees every datagram (true: towards the listener) and says whether it may pass.</summary>
    public Func<ReadOnlyMemory<byte>, bool, bool> Pass { get; set; } = (_, _) => true;

    /// <summary>Every dialler comes to the listener from a new port from now on.</summary>
    public void ChangePorts()
    {
        lock (_gate)
        {
            foreach (var back in _backs.Values) back.Dispose();
            _backs.Clear();
        }
    }

    void Start(Action body)
    {
        void UntilClosed()
        {
            try
            {
                body();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // The socket was closed by ChangePorts or Dispose: this thread is done.
            }
        }

        new Thread(UntilClosed) { IsBackground = true }.Start();
    }

    void Forth()
    {
        var buffer = new byte[65536];
        EndPoint from = new IPEndPoint(IPAddress.Any, 0);
        while (!_stopping)
        {
            int bytes = _front.ReceiveFrom(buffer, ref from);
            if (Pass(buffer.AsMemory(0, bytes), true)) Back((IPEndPoint)from).SendTo(buffer.AsSpan(0, bytes), _listener);
        }
    }

    Socket Back(IPEndPoint dialler)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_stopping, this);
            if (_backs.TryGetValue(dialler, out var back)) return back;
            back = Bind();
            _backs[dialler] = back;
            Start(() =>
            {
                var buffer = new byte[65536];
                EndPoint from = new IPEndPoint(IPAddress.Any, 0);
                while (!_stopping)
                {
                    int bytes = back.ReceiveFrom(buffer, ref from);
                    if (Pass(buffer.AsMemory(0, bytes), false)) _front.SendTo(buffer.AsSpan(0, bytes), dialler);
                }
            });
            return back;
        }
    }

    static Socket Bind()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { ReceiveBufferSize = 4 << 20 };
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return socket;
    }

    public void Dispose()
    {
        _stopping = true;
        ChangePorts();
        _front.Dispose();
    }
}
