// The embedded store: one SQLite file, write-ahead log, synced at every append, held by one process at a time.
//   log(id, record)   the records in order         purpose(text)   the fingerprint of the run that the log is of
// user_version names the schema: a file of another version is refused, never converted in silence.
using Microsoft.Data.Sqlite;

namespace OrionNative.Engine.Hosting.Swarm;

sealed class SqliteRunStore : IRunStore
{
    /// <summary>The version of the tables that this program reads and writes.</summary>
    public const int SchemaVersion = 1;

    const int Busy = 5;
    const int ReadOnly = 8;
    const int NotADatabase = 26;

    readonly SqliteConnection _connection;
    readonly string _path;

    /// <exception cref="IOException">The file cannot be opened; the message says why and what to do.</exception>
    public SqliteRunStore(string path)
    {
        _path = path;
        _connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false, DefaultTimeout = 2 }.ToString());
        try
        {
            _connection.Open();
            Execute("PRAGMA locking_mode=EXCLUSIVE");
            long version = Number("PRAGMA user_version"), tables = Number("SELECT count(*) FROM sqlite_master");
            if (version != SchemaVersion && (version != 0 || tables != 0))
            {
                throw new IOException($"the run's store {path} has schema version {version}, this program reads version {SchemaVersion}; use the program that made it, or move it away and go on from the newest checkpoint with --resume");
            }

            Execute("PRAGMA journal_mode=WAL");
            Execute("PRAGMA synchronous=FULL");
            Execute($"""
                BEGIN IMMEDIATE;
                CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY AUTOINCREMENT, record TEXT NOT NULL);
                CREATE TABLE IF NOT EXISTS purpose (text TEXT NOT NULL);
                PRAGMA user_version={SchemaVersion};
                COMMIT;
                """);
        }
        catch (SqliteException error)
        {
            _connection.Dispose();
            throw new IOException($"the run's store {path} cannot be opened: {Reason(error)}", error);
        }
        catch (IOException)
        {
            _connection.Dispose();
            throw;
        }
    }

    static string Reason(SqliteException error) => error.SqliteErrorCode switch
    {
        Busy => "another orchestrator has it open; stop that one first, or look at it with `orion-engine status`",
        ReadOnly => "it is read-only; give this user write permission to it and to its folder",
        NotADatabase => "it is not a database; move it away and go on from the newest checkpoint with --resume",
        _ => $"{error.Message}. Check that its folder exists and that this user may write there",
    };

    /// <inheritdoc/>
    public string Purpose
    {
        get
        {
            using SqliteCommand command = _connection.CreateCommand();
            command.CommandText = "SELECT text FROM purpose";
            return command.ExecuteScalar() as string ?? "";
        }

        set => Insert("INSERT INTO purpose (text) VALUES ($text)", value);
    }

    /// <inheritdoc/>
    public long Append(string record) => Insert("INSERT INTO log (record) VALUES ($text); SELECT last_insert_rowid()", record);

    long Insert(string sql, string text)
    {
        using SqliteCommand command = _connection.CreateCommand();
        command.CommandText = sql;
        command.Parameters.AddWithValue("$text", text);
        try
        {
            return command.ExecuteScalar() as long? ?? 0;
        }
        catch (SqliteException error)
        {
            throw new IOException($"the run's store {_path} takes no more records: {error.Message}. Nothing that was said is lost; free space, then go on with --resume", error);
        }
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

    long Number(string sql)
    {
        using SqliteCommand command = _connection.CreateCommand();
        command.CommandText = sql;
        return (long)command.ExecuteScalar()!;
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
