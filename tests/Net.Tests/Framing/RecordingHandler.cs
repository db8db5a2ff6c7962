// A handler that notes what happens to it and answers as it is told.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

sealed unsafe class RecordingHandler : ILinkHandler
{
    public List<(MessageHeader Header, byte[] Payload, Slot Slot, ulong Id)> Delivered { get; } = [];

    public List<(ulong Id, byte[] Body)> Requests { get; } = [];

    public Func<MessageHeader, Answer> OnAdmit { get; set; } = static _ => Answer.Accepted;

    public Func<MessageHeader, Answer> OnDeliver { get; set; } = static _ => Answer.Accepted;

    public bool KeepsSlots { get; set; }

    public bool KeepsPayloads { get; set; } = true;

    public int OpenedCount { get; private set; }

    public CloseReason? ClosedReason { get; private set; }

    public void Opened(PeerLink link) => OpenedCount++;

    public Answer Admit(PeerLink link, in MessageHeader header) => OnAdmit(header);

    public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
    {
        Assert.Equal(SlotState.Arrived, slot.State);
        Answer answer = OnDeliver(header);
        if (KeepsPayloads) Delivered.Add((header, slot.Span((int)header.PayloadBytes).ToArray(), slot, id));
        if (answer.Kind is AnswerKind.Accepted && !KeepsSlots) link.Grant(slot, header.Lane);
        return answer;
    }

    public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body)
    {
        byte[] reversed = body.ToArray();
        Requests.Add((id, body.ToArray()));
        Array.Reverse(reversed);
        link.Respond(id, 7, reversed);
    }

    public void Closed(PeerLink link, CloseReason reason)
    {
        Assert.Null(ClosedReason);
        ClosedReason = reason;
    }
}
