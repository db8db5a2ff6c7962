// doctor: what this machine has, what it lacks, and the exact fix for each.
using System.CommandLine;
using System.Text.Json.Nodes;
using OrionNative.Engine.Hosting;

namespace OrionNative.Engine.Cli;

static class DoctorCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("doctor", "What this machine has, what it lacks, and the fix.", "doctor", "doctor --json");
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(json);
        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            Finding[] findings = [.. Diagnosis.Examine()];
            JsonArray list = [];
            foreach (Finding finding in findings)
            {
                output.Text.WriteLine($"{Mark(finding.Kind)} {finding.Subject,-18} {finding.Text}");
                if (finding.Fix is not null)
                {
                    output.Text.WriteLine($"     fix: {finding.Fix}");
                }

                list.Add(new JsonObject
                {
                    ["subject"] = finding.Subject,
                    ["verdict"] = finding.Kind.ToString().ToLowerInvariant(),
                    ["text"] = finding.Text,
                    ["fix"] = finding.Fix,
                });
            }

            bool missing = findings.Any(finding => finding.Kind == FindingKind.Missing);
            output.Result(new JsonObject { ["ok"] = !missing, ["findings"] = list });
            return missing ? ExitStatus.EnvironmentMissing : ExitStatus.Done;
        });
        return command;
    }

    static string Mark(FindingKind kind) => kind switch
    {
        FindingKind.Good => "ok  ",
        FindingKind.Absent => "--  ",
        _ => "MISS",
    };
}
