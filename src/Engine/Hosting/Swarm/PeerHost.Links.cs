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
            MessageHeader copy = header;
            if (header.Kind is MessageKind.Code or MessageKind.CodeGradient)
            {
                host.Post(() => host.Delivered(link, _peer, copy, slot));
                return Answer.Accepted;
            }

            if (isOrchestrator)
            {
                host._work!.TakeFilePiece(link, copy, slot);
                return Answer.Accepted;
            }

            host._work!.TakePiece(_peer, copy, slot);
            link.Grant(slot, Lane.Bulk);
            return Answer.Accepted;
        }

        public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body)
        {
            ControlTag tag = body.Length > 0 ? (ControlTag)body[0] : 0;
            if (!isOrchestrator && tag == ControlTag.Work && body.Length == ControlCodec.WorkBytes)
            {
                WorkMessage message = ControlCodec.DecodeWork(body);
                host.Post(() => host.Step(core => core.Schedule.HandleMessage(_peer, message, Now, host._effects)));
                return;
            }

            byte[] copy = body.ToArray();
            if (isOrchestrator && tag == ControlTag.FromOrchestrator)
            {
                link.Respond(id, 0, []);
                host.Post(() => host.FromOrchestrator(copy[1..]));
            }
            else if (isOrchestrator && tag == ControlTag.Tokens)
            {
                link.Respond(id, 0, []);
                (TokenPiece piece, byte[] ids) = TokenFeed.Decode(copy);
                host.Post(() => host._work?.TakeIds(piece, ids));
            }
            else if (!isOrchestrator && tag == ControlTag.StateAsked && copy.Length == 9)
            {
                int step = BitConverter.ToInt32(copy, 1);
                uint serial = BitConverter.ToUInt32(copy, 5);
                host.Post(() =>
                {
                    string refusal = host._work?.SendState(link, step, serial) ?? "holds nothing";
                    link.Respond(id, (ushort)(refusal.Length > 0 ? 1 : 0), Encoding.UTF8.GetBytes(refusal));
                });
            }
            else
            {
                link.Close($"peer {_peer.Short} asked something ({(byte)tag}, {copy.Length} bytes) that it may not");
            }
        }

        public void Closed(PeerLink link, CloseReason reason)
        {
            PeerId peer = link.Connection?.RemoteNodeId.ToPeerId() ?? _peer;
            host.Post(isOrchestrator ? () => host.OrchestratorDown(reason) : () => host.LinkDown(link, peer));
        }
    }
}
