// export: a checkpoint as a Hugging Face directory.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class ExportCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("export", "Write a checkpoint as a Hugging Face directory.",
            "export --checkpoint runs/0001 --out exported",
            "export --checkpoint runs/0001/checkpoints/step-00000100 --type bf16 --out exported");
        Option<string> checkpoint = new("--checkpoint") { Description = "checkpoint folder, or run directory for its newest", HelpName = "directory", Required = true };
        Option<string> folder = new("--out") { Description = "the folder to write; new or empty", HelpName = "directory", Required = true };
        Option<string> type = new("--type") { Description = "type of the weights", DefaultValueFactory = _ => "fp32" };
        type.AcceptOnlyFromAmong("fp32", "bf16");
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[checkpoint, folder, type, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            string path = parsed.GetRequiredValue(folder);
            using CheckpointReader reader = CheckpointReader.Open(parsed.GetRequiredValue(checkpoint));
            HuggingFaceExport.Write(reader, path, parsed.GetRequiredValue(type) == "bf16" ? TensorType.BF16 : TensorType.F32);
            ModelConfig model = ModelConfigJson.Read(reader.State.Model);
            long bytes = Directory.GetFiles(path).Sum(file => new FileInfo(file).Length);
            output.Text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{path}: {model.Parameters:N0} weights of step {reader.State.Step} as {parsed.GetRequiredValue(type)}, {bytes:N0} bytes"));
            if (model.HasCodes)
            {
                output.Text.WriteLine("its bottleneck weights are in the file under their own names; a plain Llama implementation does not use them, so it will not compute the same model");
            }

            output.Result(new JsonObject { ["directory"] = path, ["step"] = reader.State.Step, ["parameters"] = model.Parameters, ["type"] = parsed.GetRequiredValue(type), ["bytes"] = bytes });
            return ExitStatus.Done;
        });
        return command;
    }
}
