// Tests whose figures are wall clocks or depend on them run alone, after all others.
namespace OrionNative.EndToEnd.Tests.Support;

[CollectionDefinition(nameof(TimedTests), DisableParallelization = true)]
public class TimedTests;
