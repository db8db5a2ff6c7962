// One line that counts up on a terminal; nothing anywhere else.
using System.Globalization;

namespace OrionNative.Engine.Cli;

static class ProgressLine
{
    /// <summary>A callback for the amount done, or null where nobody watches.</summary>
    public static Action<long>? For(CommandOutput output, string noun, long total)
    {
        if (!output.IsTerminal)
        {
            return null;
        }

        long shown = -1;
        return done =>
        {
            long percent = 100 * done / Math.Max(1, total);
            if (percent != shown)
            {
                shown = percent;
                output.Text.Write(string.Create(CultureInfo.InvariantCulture, $"\r{done:N0}/{total:N0} {noun}, {percent} %{(done >= total ? "\r\x1b[K" : "")}"));
            }
        };
    }
}
