namespace OrionNative.Bench;

/// <summary>One family of measurements.</summary>
sealed record Suite(string Name, string Description, Func<string[], int> Run);
