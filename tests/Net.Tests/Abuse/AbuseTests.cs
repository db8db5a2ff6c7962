// What docs/abuse.md promises, line by line and over both transports. Every case runs against a server in a process of its own
// while an honest peer sends it messages; afterwards the process lives, its memory has grown by a bounded amount, its log names
// the offender, the offender's connection is closed, and the honest peer's messages were accepted all the time.
using System.Net;
using System.Net.Sockets;
using OrionNative.Net.Framing;
using OrionNative.Net.Tests.Links;

namespace OrionNative.Net.Tests.Abuse;

public sealed class AbuseTests(AbusedServer server) : AbuseCase(server), IClassFixture<AbusedServer>
{
    static readonly IPAddress _elsewhere = IPAddress.Parse("127.0.0.9");

    public static TheoryData<TransportKind> Kinds => [TransportKind.Quic, TransportKind.Tcp];

    public static TheoryData<TransportKind, string, string> Lies
    {
        get
        {
            var data = new TheoryData<TransportKind, string, string>();
            foreach (TransportKind kind in new[] { TransportKind.Quic, TransportKind.Tcp })
                foreach ((string lie, string expected) in new[]
                {
                    ("data frame of an unknown type", "data frame type"),
                    ("slot that was never granted", "names slot 4000000"),
                    ("header with a wrong magic", "a message header begins with"),
                    ("header longer than its slot", "was begun in a slot of"),
                    ("header of another lane", "came on lane"),
                    ("header that says it has 113 bytes", "it claims 113"),
                    ("payload longer than its header says", "a frame brings"),
                    ("End of another message", "an End names message"),
                    ("Abort of another message", "an Abort names message"),
                    ("control frame of an unknown type", "control frame type 99"),
                    ("control body of 4 GB", "it claims 4294967295"),
                    ("second Hello", "a second Hello"),
                    ("Hello of another run", "belongs to run"),
                    ("answer to a message never sent", "an answer names message"),
                    ("5000 grants", "slots were granted"),
                    ("half a data frame", "a data frame stopped after"),
                    ("half a control frame", "a control frame stopped after"),
                })
                    data.Add(kind, lie, expected);
            return data;
        }
    }

    [Theory, MemberData(nameof(Lies))]
    public async Task FrameOrHeaderLies_OffenderIsNamedAndCutOff_OthersGoOn(TransportKind kind, string lie, string expected)
    {
        await WithstandAsync(kind, expected, Attacker.Id.Short, async () =>
        {
            using var peer = new RawPeer(Server, kind, Attacker);
            await peer.Opened.WaitAsync(Soon);
            bool isGreeted = lie != "Hello of another run";
            if (isGreeted) peer.Send(Lane.Control, RawPeer.Hello());
            uint slot = isGreeted ? await peer.SlotAsync(Lane.Forward).WaitAsync(Soon) : 0;
            foreach ((Lane lane, byte[] bytes) in Lie(lie, slot)) peer.Send(lane, bytes);
            await peer.Closed.WaitAsync(Soon);
        });
    }

    static IEnumerable<(Lane, byte[])> Lie(string lie, uint slot)
    {
        var good = new MessageHeader { Run = LinkedPair.Run, Microbatch = 1, Kind = MessageKind.Code, PayloadBytes = 1000 };
        byte[] begin = RawPeer.Begin(slot, 1, good);
        return lie switch
        {
            "data frame of an unknown type" => [(Lane.Forward, RawPeer.Data((DataFrameType)9, slot, 1))],
            "slot that was never granted" => [(Lane.Forward, RawPeer.Begin(4_000_000, 1, good))],
            "header with a wrong magic" => [(Lane.Forward, Changed(begin, DataFrame.Bytes, 0xff))],
            "header longer than its slot" => [(Lane.Forward, RawPeer.Begin(slot, 1, good with { PayloadBytes = ulong.MaxValue }))],
            "header of another lane" => [(Lane.Forward, RawPeer.Begin(slot, 1, good with { Kind = MessageKind.CodeGradient }))],
            "header that says it has 113 bytes" => [(Lane.Forward, Changed(begin, DataFrame.Bytes + 6, 113))],
            "payload longer than its header says" => [(Lane.Forward, begin), (Lane.Forward, RawPeer.Data(DataFrameType.Data, slot, 1001))],
            "End of another message" => [(Lane.Forward, begin), (Lane.Forward, RawPeer.Data(DataFrameType.End, slot, 2, Digest.Bytes))],
            "Abort of another message" => [(Lane.Forward, begin), (Lane.Forward, RawPeer.Data(DataFrameType.Abort, slot, 2))],
            "control frame of an unknown type" => [(Lane.Control, Changed(RawPeer.Control(new ControlFrame(ControlFrameType.Ping)), 0, 99))],
            "control body of 4 GB" => [(Lane.Control, RawPeer.Control(new ControlFrame(ControlFrameType.Request) { Id = 1, BodyBytes = uint.MaxValue }))],
            "second Hello" => [(Lane.Control, RawPeer.Hello())],
            "Hello of another run" => [(Lane.Control, RawPeer.Hello(7))],
            "answer to a message never sent" => [(Lane.Control, RawPeer.Control(new ControlFrame(ControlFrameType.Answer) { Id = 12345, Slot = (uint)AnswerKind.Accepted }))],
            "5000 grants" => [(Lane.Control, [.. Enumerable.Range(0, 5000).SelectMany(static i => RawPeer.Control(new ControlFrame(ControlFrameType.Grant) { Lane = Lane.Bulk, Slot = (uint)i, Value = 1 << 20 }))])],
            "half a data frame" => [(Lane.Forward, begin[..40])],
            "half a control frame" => [(Lane.Control, RawPeer.Control(new ControlFrame(ControlFrameType.Ping))[..20])],
            _ => throw new ArgumentException(lie),
        };
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task SlowSender_AByteAtATime_IsNamedAndCutOff(TransportKind kind)
    {
        await WithstandAsync(kind, "stopped at", Attacker.Id.Short, async () =>
        {
            using RawPeer peer = await OpenAsync(kind);
            uint slot = await peer.SlotAsync(Lane.Forward).WaitAsync(Soon);
            peer.Send(Lane.Forward, RawPeer.Begin(slot, 1, new MessageHeader { Run = LinkedPair.Run, Kind = MessageKind.Code, PayloadBytes = AbusedServer.MessageBytes }));
            peer.Send(Lane.Forward, RawPeer.Data(DataFrameType.Data, slot, AbusedServer.MessageBytes));
            for (int i = 0; !peer.Closed.IsCompleted; i++)
            {
                Assert.True(i < 1000, "the server takes a byte every 20 ms for ever");
                peer.Send(Lane.Forward, [1]);
                await Task.Delay(20);
            }
        });
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task MessageReplayed_AnsweredDuplicate_UntilThePeerIsCutOff(TransportKind kind)
    {
        await WithstandAsync(kind, "messages in a row were repeats", Attacker.Id.Short, async () =>
        {
            using RawPeer peer = await OpenAsync(kind);
            var header = new MessageHeader { Run = LinkedPair.Run, Epoch = 77, Step = (uint)kind, Kind = MessageKind.Code, PayloadBytes = 0 };
            header = header with { Digest = DigestOfNothing() };
            ulong id = 0;
            try
            {
                while (!peer.Closed.IsCompleted && id < 10_000) peer.Send(Lane.Forward, RawPeer.Begin(await peer.SlotAsync(Lane.Forward).WaitAsync(Soon), ++id, header));
            }
            catch (IOException)
            {
                // cut off while it waited for the next slot
            }
            await peer.Closed.WaitAsync(Soon);
            Assert.InRange(peer.Answers, 4000, 4200); // one accepted, as many repeats as there can be slots, then no more
        });
    }

    [Fact]
    public async Task PeerLetsNothingIn_OverQuic_IsNamedAndCutOff()
    {
        await WithstandAsync(TransportKind.Quic, "the peer took no control frame for 6 s", Attacker.Id.Short, async () =>
        {
            // its window is zero from the start and never opens, while it goes on speaking
            using var peer = new RawPeer(Server, TransportKind.Quic, Attacker, windowBytes: 0);
            await peer.Opened.WaitAsync(Soon);
            peer.Send(Lane.Control, RawPeer.Hello());
            for (int i = 0; !peer.Closed.IsCompleted; i++)
            {
                Assert.True(i < 200, "the server keeps a peer that lets nothing in");
                peer.Send(Lane.Control, RawPeer.Control(new ControlFrame(ControlFrameType.Pong)));
                await Task.Delay(100);
            }
        });
    }

    [Fact]
    public async Task PeerNeverAcknowledges_OverQuic_IsNamedAndCutOff()
    {
        await WithstandAsync(TransportKind.Quic, "nothing of them was acknowledged for 6 s", Attacker.Id.Short, async () =>
        {
            using var relay = new QuicTestRelay(Server.Address(TransportKind.Quic));
            using var peer = new RawPeer(Server, TransportKind.Quic, Attacker, through: relay.Address);
            await peer.Opened.WaitAsync(Soon);
            peer.Send(Lane.Control, RawPeer.Hello());
            await peer.SlotAsync(Lane.Forward).WaitAsync(Soon);
            // it still speaks, it hears nothing more, so it acknowledges nothing more
            relay.Pass = static (_, toListener) => toListener;
            for (uint i = 0; i < 4; i++) peer.Send(Lane.Control, RawPeer.Control(new ControlFrame(ControlFrameType.Grant) { Lane = Lane.Forward, Slot = i, Value = 1 << 20 }));
            peer.Send(Lane.Control, [.. RawPeer.Control(new ControlFrame(ControlFrameType.Request) { Id = 1, BodyBytes = 1 }), AbusedServer.SendMeOne]);
            for (int i = 0; i < 90; i++)
            {
                peer.Send(Lane.Control, RawPeer.Control(new ControlFrame(ControlFrameType.Ping) { Value = 1 }));
                await Task.Delay(100);
            }
        });
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task RequestsWithoutEnd_AnswersLeftUnread_AreBounded(TransportKind kind)
    {
        // 64 KiB come back for each of these; the ring for what waits holds 256 KiB
        byte[] request = RawPeer.Control(new ControlFrame(ControlFrameType.Request) { Id = 1, BodyBytes = ControlFrame.BodyBytesMax }, ControlFrame.BodyBytesMax);
        await WithstandAsync(kind, "bytes of control frames unread", Attacker.Id.Short, async () =>
        {
            using RawPeer peer = await OpenAsync(kind);
            for (int i = 0; i < 200; i++) peer.Send(Lane.Control, request);
            await peer.Closed.WaitAsync(Soon);
        });
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task OneIdentityTwice_IsNamed_AThirdIsTurnedAway_TheFirstGoesOn(TransportKind kind)
    {
        LinkedPair.SkipWithout(kind);
        using var honest = new HonestPeer(Server, kind);
        await honest.MoreAsync(5).WaitAsync(Soon);
        long from = Server.LogBytes;
        using var second = new RawPeer(Server, kind, honest.Identity, from: _elsewhere);
        await second.Opened.WaitAsync(Soon);
        string warning = await LineAsync(from, "two peers with one identity");
        Assert.Contains(honest.Identity.Id.Short, warning);
        using var third = new RawPeer(Server, kind, honest.Identity, from: _elsewhere);
        Assert.Equal(CloseKind.Refused, (await third.Closed.WaitAsync(Soon)).Kind);
        Assert.Contains(honest.Identity.Id.Short, await LineAsync(from, "the newest is refused"));
        await honest.MoreAsync(100).WaitAsync(Soon);
    }

    [Fact]
    public async Task GarbageDatagrams_AreNamedBySource()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(_elsewhere, 0));
        var random = new Random(1);
        byte[] garbage = new byte[1400];
        await WithstandAsync(TransportKind.Quic, "datagrams that lead nowhere", _elsewhere.ToString(), async () =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                random.NextBytes(garbage);
                socket.SendTo(garbage.AsSpan(0, random.Next(1, garbage.Length)), Server.Address(TransportKind.Quic));
                if (i % 100 == 0) await Task.Delay(1);
            }
        });
    }

    [Fact]
    public async Task HalfOpenHandshakes_ThreeThousandOverQuic_CostNoStateAndAreNamed()
    {
        LinkedPair.SkipWithout(TransportKind.Quic);
        (byte[] frames, byte[] source) = await TrueHelloAsync();
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(_elsewhere, 0));
        var random = new Random(1);
        await WithstandAsync(TransportKind.Quic, "asked to prove their address", _elsewhere.ToString(), async () =>
        {
            byte[] destination = new byte[8];
            for (int i = 0; i < 3000; i++)
            {
                random.NextBytes(destination);
                socket.SendTo(QuicInitialForge.Seal(destination, source, 0, frames), Server.Address(TransportKind.Quic));
                if (i % 50 == 0) await Task.Delay(1);
            }
            // somebody who is not there yet gets in all the same
            using RawPeer newcomer = await OpenAsync(TransportKind.Quic);
        });
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task HalfOpenHandshakes_AThousandOverTcp_AreTurnedAwayAndNamed(bool sendsGarbage)
    {
        var sockets = new List<Socket>();
        try
        {
            await WithstandAsync(TransportKind.Tcp, sendsGarbage ? "handshakes not finished" : "turned away unheard", _elsewhere.ToString(), async () =>
            {
                for (int i = 0; i < 1000; i++)
                {
                    var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                    sockets.Add(socket);
                    socket.Bind(new IPEndPoint(_elsewhere, 0));
                    await socket.ConnectAsync(Server.Address(TransportKind.Tcp));
                    if (sendsGarbage) await SendGarbageAsync(socket);
                }
                using RawPeer newcomer = await OpenAsync(TransportKind.Tcp);
            });
            foreach (Socket socket in sockets) await EndedAsync(socket);
        }
        finally
        {
            foreach (Socket socket in sockets) socket.Dispose();
        }
    }

    static async Task SendGarbageAsync(Socket socket)
    {
        try
        {
            await socket.SendAsync(new byte[] { 22, 3, 1, 0, 5, 9, 9, 9, 9, 9 });
        }
        catch (SocketException)
        {
            // turned away already
        }
    }

    static async Task EndedAsync(Socket socket)
    {
        try
        {
            while (await socket.ReceiveAsync(new byte[256]).WaitAsync(Soon) > 0) { }
        }
        catch (SocketException)
        {
            // a reset is an end as well
        }
    }

    static unsafe Digest DigestOfNothing()
    {
        byte none = 0;
        return Digest.Of(&none, 0);
    }

    // The frames of an honest first packet, and its source id, which the hello inside repeats.
    async Task<(byte[] Frames, byte[] Source)> TrueHelloAsync()
    {
        byte[]? first = null;
        using var relay = new QuicTestRelay(Server.Address(TransportKind.Quic));
        relay.Pass = (datagram, toListener) =>
        {
            if (toListener) first ??= datagram.ToArray();
            return true;
        };
        using var peer = new RawPeer(Server, TransportKind.Quic, Attacker, through: relay.Address);
        await peer.Opened.WaitAsync(Soon);
        int sourceAt = 6 + first![5];
        return (QuicInitialForge.Frames(first), first[(sourceAt + 1)..(sourceAt + 1 + first[sourceAt])]);
    }

    async Task<RawPeer> OpenAsync(TransportKind kind)
    {
        var peer = new RawPeer(Server, kind, Attacker);
        await peer.Opened.WaitAsync(Soon);
        peer.Send(Lane.Control, RawPeer.Hello());
        await peer.SlotAsync(Lane.Bulk).WaitAsync(Soon);
        return peer;
    }

    static byte[] Changed(byte[] bytes, int at, byte value)
    {
        byte[] result = [.. bytes];
        result[at] = value;
        return result;
    }
}
