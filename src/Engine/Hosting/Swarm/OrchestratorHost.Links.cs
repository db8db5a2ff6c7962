// Who is connected to the orchestrator, and what is heard of each. A key speaks over one link at a time: of two processes with one
// key (a --state folder that was copied to another machine) each would push the other out of the run without end.
//   a new link of a key whose former link lives waits as its rival:
//     the former one speaks 0.3 s later, or after        two processes live     the newcomer is refused and told why
//     it has closed, or said nothing for 1.5 s           one came back          the newcomer takes its place
// A member speaks four times a second. Describing the run to a rival does no harm, and it needs the time.
using System.Text;
using System.Text.Json.Nodes;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class OrchestratorHost
{
    static readonly TimeSpan _joinWithin = TimeSpan.FromSeconds(60);
    static readonly TimeSpan _lastWordsTake = TimeSpan.FromSeconds(0.3);
    static readonly TimeSpan _rivalWaits = TimeSpan.FromSeconds(1.5);
    static readonly TimeSpan _refusedLeavesWithin = TimeSpan.FromSeconds(10);

    sealed class Rival(PeerId peer)
    {
        public readonly PeerId Peer = peer;
        public readonly long OpenedAt = TimeProvider.System.GetTimestamp();
        public readonly Queue<Action> Words = [];
        public bool IsRefused;
    }

    readonly Dictionary<PeerLink, (long OpenedAt, PeerId Peer)> _newcomers = [];
    readonly Dictionary<PeerLink, Rival> _rivals = [];

    void LinkUp(PeerLink link, PeerId peer)
    {
        if (_links.ContainsKey(peer))
        {
            _rivals[link] = new Rival(peer);
        }
        else
        {
            Take(link, peer);
        }
    }

    void Take(PeerLink link, PeerId peer)
    {
        _links[peer] = link;
        _newcomers[link] = (TimeProvider.System.GetTimestamp(), peer);
    }

    // bounded by the transport's quota: a word that is held back is a word of a rival, which has a second and a half
    bool HoldsBack(PeerLink link, Action word)
    {
        if (!_rivals.TryGetValue(link, out Rival? rival))
        {
            return false;
        }

        if (rival.Words.Count < WordQuota.WaitingMost)
        {
            rival.Words.Enqueue(word);
        }

        return true;
    }

    void LookAtRivals()
    {
        foreach ((PeerLink link, Rival rival) in _rivals)
        {
            TimeSpan waited = TimeProvider.System.GetElapsedTime(rival.OpenedAt);
            PeerLink? former = _links.GetValueOrDefault(rival.Peer);
            if (rival.IsRefused)
            {
                if (waited > _refusedLeavesWithin)
                {
                    _rivals.Remove(link);   // a dictionary may lose entries while it is walked
                    link.Close($"{rival.Peer.Short} was refused: its key is in use");
                }
            }
            else if (former?.Tag is Handler { HeardAt: long heardAt } && TimeProvider.System.GetElapsedTime(rival.OpenedAt, heardAt) > _lastWordsTake)
            {
                Refuse(link, rival, former);
            }
            else if (former is null || waited > _rivalWaits)
            {
                _rivals.Remove(link);
                Take(link, rival.Peer);
                former?.Close($"a newer connection of {rival.Peer.Short} took its place: this one is silent");
                while (rival.Words.TryDequeue(out Action? word))
                {
                    word();
                }
            }
        }
    }

    void Refuse(PeerLink link, Rival rival, PeerLink former)
    {
        (System.Net.IPEndPoint? here, System.Net.IPEndPoint? there) = (former.Connection?.RemoteAddress, link.Connection?.RemoteAddress);
        rival.IsRefused = true;
        rival.Words.Clear();
        string text = $"{rival.Peer.Short} takes part already, from {here}, and its process lives: this one, at {there}, has the same key. A --state folder was copied, or is used from two machines; end the other process, or give this one a --state folder of its own and a join string with a token that is not used up";
        link.Tell(ControlCodec.EncodeToPeer(new OrchestratorMessage.Refused(JoinRefusal.KeyInUse, text), _ => null));
        string note = $"{rival.Peer.Short} is live at {here}; a second process with its key, at {there}, is refused: its --state folder was copied";
        _directory.Event("note", new JsonObject { ["text"] = note });
        _whenNoted?.Invoke(note);
    }

    // Anybody may make a key and connect; without a token that does not last, or keys alone would use up the connections.
    void CloseStrangers()
    {
        foreach ((PeerLink link, (long openedAt, PeerId peer)) in _newcomers)
        {
            if (TimeProvider.System.GetElapsedTime(openedAt) <= _joinWithin)
            {
                continue;
            }

            _newcomers.Remove(link);   // a dictionary may lose entries while it is walked
            if (!_core.HasAdmitted(peer))
            {
                link.Close($"{peer.Short} has not joined within {_joinWithin.TotalSeconds} s");
            }
        }
    }

    sealed class Handler(OrchestratorHost host) : ILinkHandler
    {
        readonly WordQuota _quota = new();
        PeerId _peer;
        long _heardAt;

        /// <summary>When it last said something.</summary>
        public long HeardAt => Interlocked.Read(ref _heardAt);

        public void Opened(PeerLink link)
        {
            _peer = link.Connection!.RemoteNodeId.ToPeerId();
            link.Tag = this;
            host._events.Add(() => host.LinkUp(link, _peer));
        }

        bool _isGranted;

        public Answer Admit(PeerLink link, in MessageHeader header) =>
            header.Kind == MessageKind.Checkpoint && header.PayloadBytes <= BulkTransfer.PieceBytes ? Answer.Accepted : Answer.Refused(Refusal.Unexpected);

        public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
        {
            host._receiver.Take(link, _peer, header, slot);
            return Answer.Accepted;
        }

        public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body)
        {
            Interlocked.Exchange(ref _heardAt, TimeProvider.System.GetTimestamp());

            // Anybody who makes a key gets here. Who has not shown a token may ask for the run and for a place, or ask back for
            // the one that it had; nothing else of it is heard.
            bool isAdmitted = host._addresses.ContainsKey(_peer);
            switch (body.Length > 0 ? (ControlTag)body[0] : 0)
            {
                case ControlTag.Describe:
                    string token = Encoding.UTF8.GetString(body[1..]);
                    Post(link, () => host.Describe(link, id, _peer, token), ofRival: true);
                    break;
                case ControlTag.FromPeer:
                    (PeerMessage message, JsonObject? beside) = ControlCodec.Decode<PeerMessage>(body[1..]);
                    if (isAdmitted || message is PeerMessage.Join or PeerMessage.Hello)
                    {
                        Post(link, () => host.Received(_peer, message, beside));
                    }

                    break;
                case ControlTag.Contributed or ControlTag.Heartbeat or ControlTag.Figures when !isAdmitted:
                    break;
                case ControlTag.Contributed:
                    PeerMessage.Contributed contributed = ControlCodec.DecodeContributed(body);
                    Post(link, () => host.Received(_peer, contributed, null));
                    break;
                case ControlTag.Heartbeat:
                    PeerMessage.Heartbeat heartbeat = ControlCodec.DecodeHeartbeat(body);
                    Post(link, () => host.Received(_peer, heartbeat, null));
                    break;
                case ControlTag.Figures:
                    PeerTold told = ControlCodec.DecodeFigures(body);
                    Post(link, () => host.TakeFigures(_peer, told));
                    break;
                case ControlTag.FileAsked:
                    FileAsked asked = FileAsked.Decode(body);
                    Post(link, () => host.GiveFile(link, id, _peer, asked));
                    break;
                case ControlTag.FileOffered:
                    FileOffered offer = FileOffered.Decode(body);
                    Post(link, () => host.TakeOffer(link, id, _peer, offer, ref _isGranted));
                    break;
                default:
                    link.Close($"peer {_peer.Short} asked something ({body.Length} bytes) that it may not");
                    break;
            }
        }

        void Post(PeerLink link, Action what, bool ofRival = false)
        {
            if (_quota.TryWait(link, _peer))
            {
                host._events.Add(() =>
                {
                    _quota.Heard();
                    if (ofRival || !host.HoldsBack(link, what))
                    {
                        what();
                    }
                });
            }
        }

        public void Closed(PeerLink link, CloseReason reason) => host._events.Add(() =>
        {
            host._newcomers.Remove(link);
            host._rivals.Remove(link);
            if (host._links.TryGetValue(_peer, out PeerLink? known) && known == link)
            {
                host._links.Remove(_peer);
                host._receiver.Abandon(_peer);
                host.Step(new OrchestratorEvent.Disconnected(_peer, IsGone: reason.Kind == CloseKind.Reset));
            }
        });
    }
}
