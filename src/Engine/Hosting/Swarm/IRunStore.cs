// Where the orchestrator's decisions are kept. The log is append-only; its state is a function of the records in order.
using Microsoft.Data.Sqlite;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>An append-only log that survives the process.</summary>
interface IRunStore : IDisposable
{
    /// <summary>Durable when the call returns.</summary>
    void Append(string record);

    /// <summary>Every record, in order.</summary>
    IReadOnlyList<string> ReadAll();
}

/// <summary>The embedded store: one SQLite file, write-ahead log, synced at every append.</summary>
sealed class SqliteRunStore : IRunStore
{
    readonly SqliteConnection _connection;

    /// <exception cref="IOException">The file cannot be opened; the message says why.</exception>
    public SqliteRunStore(string path)
    {
        _connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString());
        try
        {
            _connection.Open();
            Execute("PRAGMA journal_mode=WAL");
            Execute("PRAGMA synchronous=FULL");
            Execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY AUTOINCREMENT, record TEXT NOT NULL)");
        }
        catch (SqliteException error)
        {
            _connection.Dispose();
            throw new IOException($"the run's store {path} cannot be opened: {error.Message}. Check the folder's permissions and that no other orchestrator uses it", error);
        }
    }

    /// <inheritdoc/>
    public void Append(string record)
    {
        using SqliteCommand command = _connection.CreateCommand();
        command.CommandText = "INSERT INTO log (record) VALUES ($record)";
        command.Parameters.AddWithValue("$record", record);
        command.ExecuteNonQuery();
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> ReadAll()
    {
        using SqliteCommand command = _connection.CreateCommand();
        command.CommandText = "SELECT record FROM log ORDER BY id";
        using SqliteDataReader reader = command.ExecuteReader();
        List<string> records = [];
        while (reader.Read())
        {
            records.Add(reader.GetString(0));
        }

        return records;
    }

    void Execute(string sql)
    {
        using SqliteCommand command = _connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }

    /// <inheritdoc/>
    public void Dispose() => _connection.Dispose();
}
