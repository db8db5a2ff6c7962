// The HTTP side of a run: JSON for programs, a stream of server-sent events, and one page for people.
//   GET  /  /api/status  /api/events?after=N&limit=K  /api/metrics?after=STEP&points=K  /api/stream?after=N
//   POST /api/drain {"peer"}  /api/stop
// Reading is free on loopback, if the Host header says loopback too (a page elsewhere cannot be made to read it); steering,
// and reading from elsewhere, needs the run's key as `Authorization: Bearer KEY` (or ?key=KEY for the page's stream).
// A bare Kestrel without routing or configuration: it starts in some tens of milliseconds and takes no part in training.
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Dashboard;

/// <summary>Serves one run until it is disposed.</summary>
sealed class ControlServer : IDisposable
{
    const int EventsAtOnce = 1000;
    const int BodyBytesMax = 4096;
    static readonly TimeSpan _streamEvery = TimeSpan.FromMilliseconds(250);
    static readonly byte[] _page = ReadPage();

    readonly IRunControl _run;
    readonly byte[] _key;
    readonly WebApplication _server;
    readonly CancellationTokenSource _ending = new();

    /// <param name="run">What is served.</param>
    /// <param name="listen">Where; port 0 takes a free one.</param>
    /// <param name="key">What a request must know to steer the run.</param>
    /// <exception cref="ConfigurationException">The port is in use, or the address is not this machine's.</exception>
    public ControlServer(IRunControl run, IPEndPoint listen, string key)
    {
        (_run, _key) = (run, Encoding.UTF8.GetBytes(key));
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = BodyBytesMax;
            kestrel.Listen(listen);
        });
        _server = builder.Build();
        _server.Run(Answer);
        try
        {
            _server.StartAsync().GetAwaiter().GetResult();
        }
        catch (IOException error) when (error.InnerException is AddressInUseException)
        {
            throw new ConfigurationException($"http '{listen}': the port is in use; name another with --http, or port 0 for a free one", error);
        }
        catch (System.Net.Sockets.SocketException error)
        {
            throw new ConfigurationException($"http '{listen}': {error.Message}; name an address of this machine with --http", error);
        }

        string bound = _server.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        Url = bound.TrimEnd('/');
    }

    /// <summary>Where it listens: http://address:port.</summary>
    public string Url { get; }

    static byte[] ReadPage()
    {
        using Stream page = typeof(ControlServer).Assembly.GetManifestResourceStream("dashboard.html")!;
        byte[] bytes = new byte[page.Length];
        page.ReadExactly(bytes);
        return bytes;
    }

    async Task Answer(HttpContext context)
    {
        HttpRequest request = context.Request;
        bool isSteering = HttpMethods.IsPost(request.Method);
        if (!KnowsKey(request) && (isSteering || !IsLocal(context)))
        {
            await Say(context, StatusCodes.Status401Unauthorized, isSteering
                ? "steering a run needs its key: `Authorization: Bearer KEY`; it is in control.json of the run directory"
                : "reading from another machine, or under another name, needs the run's key");
            return;
        }

        context.Response.Headers.CacheControl = "no-store";
        switch (request.Method, request.Path.Value)
        {
            case ("GET", "/"):
                context.Response.Headers.ContentSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";
                await Send(context, "text/html; charset=utf-8", _page);
                break;
            case ("GET", "/api/status"):
                await SendJson(context, _run.Status);
                break;
            case ("GET", "/api/events"):
                (long _, string Line)[] events = _run.EventsAfter(Number(request, "after", 0), (int)Math.Clamp(Number(request, "limit", EventsAtOnce), 1, EventsAtOnce));
                await SendJson(context, $"{{\"events\":[{string.Join(',', events.Select(line => line.Line))}]}}");
                break;
            case ("GET", "/api/metrics"):
                await SendJson(context, new JsonObject { ["metrics"] = _run.Metrics((int)Number(request, "after", 0), (int)Math.Clamp(Number(request, "points", EventsAtOnce), 1, 10000)) }.ToJsonString());
                break;
            case ("GET", "/api/stream"):
                await Stream(context);
                break;
            case ("POST", "/api/drain"):
                (bool done, string text) = _run.Drain(await Word(request, "peer"));
                await Say(context, done ? StatusCodes.Status200OK : StatusCodes.Status404NotFound, text);
                break;
            case ("POST", "/api/stop"):
                await Say(context, StatusCodes.Status200OK, _run.Stop("stopped by the operator"));
                break;
            default:
                await Say(context, StatusCodes.Status404NotFound, $"there is no {request.Method} {request.Path}; there are / /api/status /api/events /api/metrics /api/stream and, to POST, /api/drain /api/stop");
                break;
        }
    }

    bool KnowsKey(HttpRequest request)
    {
        string given = request.Headers.Authorization.ToString() is { Length: > 7 } header && header.StartsWith("Bearer ", StringComparison.Ordinal)
            ? header[7..] : HttpMethods.IsGet(request.Method) ? request.Query["key"].ToString() : "";
        return CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(given), _key);
    }

    static bool IsLocal(HttpContext context) =>
        context.Connection.RemoteIpAddress is { } from && IPAddress.IsLoopback(from)
            && (context.Request.Host.Host is "localhost" || IPAddress.TryParse(context.Request.Host.Host.Trim('[', ']'), out IPAddress? host) && IPAddress.IsLoopback(host));

    static long Number(HttpRequest request, string name, long otherwise) =>
        long.TryParse(request.Query[name].ToString(), out long value) && value >= 0 ? value : otherwise;

    static async Task<string> Word(HttpRequest request, string name)
    {
        try
        {
            return (string?)(await JsonNode.ParseAsync(request.Body))?[name] ?? "";
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return "";
        }
    }

    // The status when it changed and every new event, as they come; a reader that comes back names the last event it has.
    async Task Stream(HttpContext context)
    {
        context.Response.ContentType = "text/event-stream";
        long after = long.TryParse(context.Request.Headers["Last-Event-ID"], out long last) ? last : Number(context.Request, "after", 0);
        string told = "";
        using CancellationTokenSource ending = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _ending.Token);
        try
        {
            while (true)
            {
                foreach ((long id, string line) in _run.EventsAfter(after, EventsAtOnce))
                {
                    await context.Response.WriteAsync($"id: {id}\nevent: happened\ndata: {line}\n\n", ending.Token);
                    after = id;
                }

                if (_run.Status is { } status && !ReferenceEquals(status, told))
                {
                    await context.Response.WriteAsync($"event: status\ndata: {status}\n\n", ending.Token);
                    told = status;
                }

                await context.Response.Body.FlushAsync(ending.Token);
                await Task.Delay(_streamEvery, ending.Token);
            }
        }
        catch (Exception error) when (error is OperationCanceledException or IOException)
        {
            // the reader is gone, or the run is over
        }
    }

    static Task Say(HttpContext context, int status, string text)
    {
        context.Response.StatusCode = status;
        return SendJson(context, new JsonObject { ["text"] = text }.ToJsonString());
    }

    static Task SendJson(HttpContext context, string json) => Send(context, "application/json; charset=utf-8", Encoding.UTF8.GetBytes(json));

    static async Task Send(HttpContext context, string type, byte[] body)
    {
        context.Response.ContentType = type;
        context.Response.ContentLength = body.Length;
        await context.Response.Body.WriteAsync(body);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ending.Cancel();
        using (CancellationTokenSource patience = new(TimeSpan.FromMilliseconds(500)))
        {
            _server.StopAsync(patience.Token).GetAwaiter().GetResult();
        }

        ((IDisposable)_server).Dispose();
        _ending.Dispose();
    }
}
