// Tests that measure the clock, the process or the machine: after all others, one class at a time.
namespace OrionNative.Net.Tests;

[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public static class Alone;
