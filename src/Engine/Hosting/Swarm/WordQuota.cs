// How many words of one link may wait for the loop that hears them. A member says a few a second and some for each microbatch, so
// thousands that wait are minutes in which the loop stood still, or somebody who says without end: the link ends, and with Hello
// both sides begin again from what they know.
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>Counts the words of one link between the transport's thread and the loop.</summary>
sealed class WordQuota
{
    public const int WaitingMost = 4096;

    int _waiting;

    /// <summary>False, and the link is closed, if too many wait; otherwise <see cref="Heard"/> must follow.</summary>
    public bool TryWait(PeerLink link, PeerId who)
    {
        if (Interlocked.Increment(ref _waiting) <= WaitingMost)
        {
            return true;
        }

        Heard();
        link.Close($"{WaitingMost} words of {who.Short} wait to be heard; it says too much, or this process stands still");
        return false;
    }

    /// <summary>The loop has taken one.</summary>
    public void Heard() => Interlocked.Decrement(ref _waiting);
}
