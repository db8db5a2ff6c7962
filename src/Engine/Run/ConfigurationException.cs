namespace OrionNative.Engine.Run;

/// <summary>Something that the user can fix: the message names the offending value and what to do. Exit code 2.</summary>
public sealed class ConfigurationException(string message, Exception? inner = null) : Exception(message, inner);
