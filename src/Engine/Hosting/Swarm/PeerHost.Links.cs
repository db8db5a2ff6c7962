// What a link tells, on the transport's thread: checked, and posted to the loop.
using System.Text;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class PeerHost
{
    sealed class Handler(PeerHost host, bool isOrchestrator) : ILinkHandler
    {
        readonly WordQuota _quota = new();
        PeerId _peer;

        public void Opened(PeerLink link)
        {
            _peer = link.Connection!.RemoteNodeId.ToPeerId();
            host.Post(isOrchestrator ? host.OrchestratorUp : () => host.LinkUp(link, _peer));
        }

        public Answer Admit(PeerLink link, in MessageHeader header) =>
            host._work is not { } work || isOrchestrator != (header.Kind == MessageKind.Checkpoint) ? Answer.Refused(Refusal.Unexpected) : work.Admit(header);

        public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
        {
            if (header.Kind is MessageKind.Code or MessageKind.CodeGradient)
            {
                host._loop.Add(new LoopEvent(LoopEventKind.Delivered) { Link = link, Peer = _peer, Message = PeerWork.MessageOf(header), Slot = slot });
                return Answer.Accepted;
            }

            if (isOrchestrator)
            {
                host._work!.TakeFilePiece(link, header, slot);
                return Answer.Accepted;
            }

            if (!host._work!.TakePiece(_peer, header, slot))
            {
                return Answer.Refused(Refusal.Unexpected);   // nobody waits for it: its sender can stop
            }

            link.Grant(slot, Lane.Bulk);
            return Answer.Accepted;
        }

        public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body)
        {
            ControlTag tag = body.Length > 0 ? (ControlTag)body[0] : 0;
            switch (tag)
            {
                case ControlTag.Work when !isOrchestrator:
                    WorkMessage work = ControlCodec.DecodeWork(body);
                    if (_quota.TryWait(link, _peer))
                    {
                        host._loop.Add(new LoopEvent(LoopEventKind.Work) { Peer = _peer, Message = work, Quota = _quota });
                    }

                    break;
                case ControlTag.Tokens when isOrchestrator:
                    TokenPiece piece = TokenFeed.Decode(body, out ReadOnlySpan<byte> ids);
                    host._work?.ReceiveIds(piece, ids);
                    break;
                case ControlTag.Grant when isOrchestrator:
                    Granted(body);
                    break;
                case ControlTag.Pulse when isOrchestrator:
                    host._loop.Add(new LoopEvent(LoopEventKind.Pulse));
                    break;
                case ControlTag.FromOrchestrator or ControlTag.Placement or ControlTag.Reduce when isOrchestrator:
                    Said(body.ToArray());
                    break;
                case ControlTag.StateAsked when !isOrchestrator && body.Length == 9:
                    StateAsked(link, id, BitConverter.ToInt32(body[1..]), BitConverter.ToUInt32(body[5..]));
                    break;
                default:
                    link.Close($"peer {_peer.Short} asked something ({(byte)tag}, {body.Length} bytes) that it may not");
                    break;
            }
        }

        void Granted(ReadOnlySpan<byte> body)
        {
            (int step, int attempt, int count) = ControlCodec.DecodeGrant(body);
            if (count == 0)
            {
                host._loop.Add(new LoopEvent(LoopEventKind.GivenOut) { Message = new WorkMessage(WorkKind.Forward, new WorkId(0, step, 0, 0, attempt)) });
            }

            for (int i = 0; i < count; i++)
            {
                WorkId work = new(0, step, ControlCodec.GrantedMicrobatch(body, i), 0, attempt);
                host._loop.Add(new LoopEvent(LoopEventKind.Granted) { Message = new WorkMessage(WorkKind.Forward, work) });
            }
        }

        // closures are made in methods of their own: one in Requested would be made for every message
        void Said(byte[] body) => host.Post(() => host.FromOrchestrator(body));

        void StateAsked(PeerLink link, ulong id, int step, uint serial)
        {
            if (_quota.TryWait(link, _peer))
            {
                host.Post(() => GiveState(link, id, step, serial));
            }
        }

        void GiveState(PeerLink link, ulong id, int step, uint serial)
        {
            _quota.Heard();
            string refusal = !host.IsReplica(_peer) ? "gives its state to replicas of its own stage" : host._work?.SendState(link, step, serial) ?? "holds nothing";
            link.Respond(id, (ushort)(refusal.Length > 0 ? 1 : 0), Encoding.UTF8.GetBytes(refusal));
        }

        public void Closed(PeerLink link, CloseReason reason)
        {
            PeerId peer = link.Connection?.RemoteNodeId.ToPeerId() ?? _peer;
            host.Post(isOrchestrator ? () => host.OrchestratorDown(reason) : () => host.LinkDown(link, peer));
        }
    }
}
