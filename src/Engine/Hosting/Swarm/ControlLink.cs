using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

static class ControlLink
{
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    /// <summary>Says something whose answer says nothing. A link that closes is not news here: the cores hear of it by
    /// HandleLink, by a lease or by their own clock, and what matters is repeated after the next Hello.</summary>
    public static async Task TellAsync(this PeerLink link, byte[] body)
    {
        try
        {
            await link.RequestAsync(body, _patience);
        }
        catch (Exception error) when (error is IOException or TimeoutException)
        {
            // see above
        }
    }
}
