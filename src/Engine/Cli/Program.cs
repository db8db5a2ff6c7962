// The command line of orion-engine.
namespace OrionNative.Engine.Cli;

static class Program
{
    static int Main(string[] arguments)
    {
        Console.WriteLine($"orion-engine {typeof(Program).Assembly.GetName().Version} {string.Join(' ', arguments)}");
        return 0;
    }
}
