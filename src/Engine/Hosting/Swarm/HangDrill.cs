// A rehearsed failure: the compute thread of a peer sleeps in the n-th task of a kind, while the rest of its process goes on.
// What an operator drills with `join --rehearse-hang apply:5:60` is what a wedged driver or disk does; the peer says so in its log
// and in the run's events before it sleeps.
using System.Globalization;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting.Swarm;

/// <param name="Task">In which kind of task.</param>
/// <param name="Count">In which of them, from 1, since the process started.</param>
/// <param name="Lasts">How long.</param>
sealed record HangDrill(ComputeTask Task, int Count, TimeSpan Lasts)
{
    int _seen;

    static string Tasks => string.Join(", ", Enum.GetValues<ComputeTask>().Skip(1)).ToLowerInvariant();

    public static string Help => $"rehearse a failure: TASK:N:SECONDS lets the compute thread hang in its N-th task of a kind ({Tasks})";

    /// <exception cref="ConfigurationException">The text is no drill.</exception>
    public static HangDrill? Parse(string? text)
    {
        if (text is null)
        {
            return null;
        }

        return text.Split(':') is [string task, string count, string seconds]
            && Enum.TryParse(task, ignoreCase: true, out ComputeTask parsed) && parsed != ComputeTask.None && Enum.IsDefined(parsed) && !char.IsAsciiDigit(task[0])
            && int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number > 0
            && double.TryParse(seconds, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double lasts) && lasts is > 0 and <= 3600
            ? new HangDrill(parsed, number, TimeSpan.FromSeconds(lasts))
            : throw new ConfigurationException($"rehearse-hang '{text}' is not TASK:N:SECONDS like apply:5:60; tasks: {Tasks}; N from 1; SECONDS up to 3600");
    }

    /// <summary>True in the task that is to hang. Called by the compute thread only.</summary>
    public bool Strikes(ComputeTask task) => task == Task && ++_seen == Count;
}
