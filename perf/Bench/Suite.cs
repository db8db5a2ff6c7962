namespace OrionNative.Bench;

/// <summary>One family of measurements.</summary>
/// <param name="Name">The first word after `./orion perf`.</param>
/// <param name="Arguments">The words that may follow it.</param>
/// <param name="Description">What is measured, beside what.</param>
/// <param name="Run">Measures and returns the exit status; a word that is not understood is a FormatException.</param>
sealed record Suite(string Name, string Arguments, string Description, Func<string[], int> Run)
{
    /// <summary>The words given, which must be among those known; all known ones if none is given.</summary>
    public static string[] Parts(string[] arguments, params string[] known) =>
        arguments.Length == 0 ? known
        : Array.Find(arguments, word => !known.Contains(word)) is { } wrong ? throw new FormatException($"'{wrong}' is none of {string.Join(", ", known)}")
        : arguments;
}
