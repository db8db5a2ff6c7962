// Measurements, each beside its peer. One suite a file; `./orion perf` lists them.
Console.WriteLine("no suite yet");
