// How a command reaches a running run: control.json in its directory names address and key; --url and --key name another
// machine's. A run that does not answer is a sentence that says where it stood. What has happened is in the directory's file.
using System.CommandLine;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

/// <summary>The options that say which run.</summary>
sealed class RunChoice
{
    readonly Option<string?> _run = new("--run") { Description = "directory of the run [default: the newest under runs/ that is running]", HelpName = "directory" };
    readonly Option<string?> _url = new("--url") { Description = "address of a run elsewhere, like http://host:4480", HelpName = "url" };
    readonly Option<string?> _key = new("--key") { Description = "its key, with --url", HelpName = "key" };

    public RunChoice(Command command)
    {
        foreach (Option option in (Option[])[_run, _url, _key])
        {
            command.Add(option);
        }
    }

    /// <summary>The run's directory on this machine.</summary>
    public string Here(ParseResult parsed) => parsed.GetValue(_url) is null ? DirectoryOf(parsed)
        : throw new ConfigurationException("--at reads the event log in the run's directory: name it with --run, on the machine that has it");

    public RunClient Open(ParseResult parsed)
    {
        if (parsed.GetValue(_url) is { } url)
        {
            return Uri.TryCreate(url, UriKind.Absolute, out Uri? address) ? new RunClient(address, parsed.GetValue(_key) ?? "", null)
                : throw new ConfigurationException($"url '{url}' is not an address like http://127.0.0.1:4480");
        }

        string directory = DirectoryOf(parsed);
        string file = Path.Combine(directory, "control.json");
        if (!File.Exists(file))
        {
            RunDirectory.ReadConfig(directory);
            if (RunDirectory.IsInUse(directory))
            {
                throw new IOException($"the run in {directory} trains in one process, which answers nobody; look at {Path.Combine(directory, "metrics.jsonl")}, and stop it with Ctrl-C");
            }

            JsonObject? last = RunDirectory.ReadMetrics(directory).LastOrDefault();
            throw new IOException($"the run in {directory} is not running (its last step is {(int?)last?["step"] ?? 0}); go on with `orion-engine orchestrate --resume {directory}` or `orion-engine train --resume {directory}`, or see who held what at a step of a swarm with `orion-engine status --run {directory} --at STEP`");
        }

        JsonObject control = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
        return new RunClient(new Uri((string)control["url"]!), (string)control["key"]!, directory);
    }

    /// <summary>What has happened, oldest first: from the directory, whether its run is going on or over, or from the run at an address.</summary>
    public IEnumerable<JsonObject> Events(ParseResult parsed, long after)
    {
        if (parsed.GetValue(_url) is null)
        {
            string directory = DirectoryOf(parsed);
            RunDirectory.ReadConfig(directory);
            return RunDirectory.ReadEvents(directory).Where(happened => (long?)happened["id"] > after);
        }

        return Asked(parsed, after);
    }

    IEnumerable<JsonObject> Asked(ParseResult parsed, long last)
    {
        using RunClient run = Open(parsed);
        while (run.Get($"/api/events?after={last}")["events"]!.AsArray() is { Count: > 0 } some)
        {
            foreach (JsonNode? happened in some)
            {
                yield return happened!.AsObject();
            }

            last = (long)some[^1]!["id"]!;
        }
    }

    string DirectoryOf(ParseResult parsed) => parsed.GetValue(_run) ?? Newest();

    static string Newest() =>
        (Directory.Exists("runs") ? Directory.GetDirectories("runs") : []).Where(run => File.Exists(Path.Combine(run, "control.json"))).Order(StringComparer.Ordinal).LastOrDefault()
            ?? throw new ConfigurationException("no run under runs/ is running; name one with --run DIRECTORY or --url");
}

/// <summary>Asks one run.</summary>
sealed class RunClient : IDisposable
{
    readonly HttpClient _http;
    readonly string _name;

    public RunClient(Uri address, string key, string? directory)
    {
        _http = new HttpClient { BaseAddress = address, Timeout = Timeout.InfiniteTimeSpan };
        _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        _name = directory is null ? $"{address}" : $"{address} (run {directory})";
    }

    /// <summary>GET; an answer that is no success is an IOException with its words.</summary>
    public JsonObject Get(string path) => Ask(new HttpRequestMessage(HttpMethod.Get, path));

    /// <summary>POST; returns the run's words.</summary>
    public string Post(string path, JsonObject body) =>
        (string?)Ask(new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json") })["text"] ?? "";

    JsonObject Ask(HttpRequestMessage request)
    {
        try
        {
            using CancellationTokenSource patience = new(TimeSpan.FromSeconds(10));
            using HttpResponseMessage response = _http.Send(request, patience.Token);
            using StreamReader reader = new(response.Content.ReadAsStream());
            JsonObject answer = JsonNode.Parse(reader.ReadToEnd())!.AsObject();
            return response.IsSuccessStatusCode ? answer : throw new IOException((string?)answer["text"] ?? $"{_name} answers {(int)response.StatusCode}");
        }
        catch (Exception error) when (error is HttpRequestException or OperationCanceledException or JsonException)
        {
            throw new IOException($"{_name} does not answer: {error.Message}. Its process may be gone; resume it with --resume", error);
        }
    }

    /// <summary>Events as they happen, until the run ends or the interrupt.</summary>
    public IEnumerable<JsonObject> Follow(long after, CancellationToken interrupt)
    {
        using HttpResponseMessage response = Open($"/api/stream?after={after}", interrupt);
        using StreamReader reader = new(response.Content.ReadAsStream(interrupt));
        string kind = "";
        while (Line(reader, interrupt) is { } line)
        {
            if (line.StartsWith("event: ", StringComparison.Ordinal))
            {
                kind = line[7..];
            }
            else if (kind == "happened" && line.StartsWith("data: ", StringComparison.Ordinal))
            {
                yield return JsonNode.Parse(line[6..])!.AsObject();
            }
        }
    }

    HttpResponseMessage Open(string path, CancellationToken interrupt)
    {
        try
        {
            return _http.Send(new HttpRequestMessage(HttpMethod.Get, path), HttpCompletionOption.ResponseHeadersRead, interrupt);
        }
        catch (HttpRequestException error)
        {
            throw new IOException($"{_name} does not answer: {error.Message}. Its process may be gone; resume it with --resume", error);
        }
    }

    static string? Line(StreamReader reader, CancellationToken interrupt)
    {
        try
        {
            return reader.ReadLineAsync(interrupt).AsTask().GetAwaiter().GetResult();
        }
        catch (Exception error) when (error is IOException or OperationCanceledException)
        {
            return null;
        }
    }

    public void Dispose() => _http.Dispose();
}
