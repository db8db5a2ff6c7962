// The flags that name a checkpoint and a device, shared by eval and generate.
using System.CommandLine;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

sealed class CheckpointOptions
{
    readonly Option<string> _checkpoint = new("--checkpoint") { Description = "checkpoint folder, or run directory for its newest", HelpName = "directory", Required = true };
    readonly Option<string> _device = new("--device") { Description = Devices.Help, DefaultValueFactory = _ => "cpu" };
    readonly Option<int> _threads = new Option<int>("--threads") { Description = "CPU threads; 0: every processor" }.Between(0, 4096);

    public CheckpointOptions(Command command)
    {
        command.Add(_checkpoint);
        command.Add(_device);
        command.Add(_threads);
    }

    public LoadedModel Open(ParseResult parsed)
    {
        string path = parsed.GetRequiredValue(_checkpoint);
        if (!Directory.Exists(path))
        {
            throw new ConfigurationException(File.Exists(path) ? $"checkpoint '{path}' is a file; give the folder of a checkpoint, or a run directory" : $"checkpoint '{path}' does not exist");
        }

        return new LoadedModel(path, Devices.Open(parsed.GetRequiredValue(_device), parsed.GetValue(_threads)));
    }
}
