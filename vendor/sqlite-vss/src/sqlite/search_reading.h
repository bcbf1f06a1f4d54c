// What a running search learns from the text of its statement: which of the conditions that the plan took are the
// search's own, how they were written, and whether anything of its WHERE stays with SQLite.
//
// The statement is among those of the connection that are running (sqlite3_next_stmt), or a view or trigger holds the
// search. Whether SQLite keeps a condition to itself is asked of SQLite: EXPLAIN of a search with that condition alone.
//
// Threads: like the connection.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "sqlite/plan.h"
#include "sqlite/search_text.h"
#include "storage/schema.h"
#include "storage/storage.h"

namespace vss {

// How a condition that the plan took was written.
struct TermReading {
    bool is_own = false;          // in the search's own WHERE
    bool is_plain_value = false;  // its value has no affinity of its own
    char collation = 0;           // written beside it: b, n, r; 'c' where none is; 0 where that is not known
};

struct SearchReading {
    bool is_known = false;           // the text was found and understood
    bool has_limit = false;          // a LIMIT ends the reading
    std::vector<TermReading> terms;  // one for each of the plan's
    // Conditions over t_rows beside the terms, joined by AND: those that SQLite keeps, to be met before k all the same.
    std::string kept;
};

class SearchReader {
  public:
    // `has_k`: then a condition that would drop rows after the k nearest are found goes into `kept`, or is refused.
    // `reader`: whoever asks, until it is forgotten; each has a statement of its own, if possible.
    Status read(const TableName& name, const Schema& schema, const Plan& plan, bool has_k, const void* reader,
                SearchReading& out);
    // The vector column that a running statement hands to avg(), sum() or total(); empty: none does.
    static std::string summed(const TableName& name, const Schema& schema);
    void forget(const void* reader) {
        std::erase_if(adopted_, [&](const auto& of) { return of.first == reader; });
    }

  private:
    // A condition, as SQLite takes it apart.
    struct Probed {
        bool is_known = false;
        bool is_kept = false;     // SQLite checks it itself, on rows that came out
        bool is_looped = false;   // SQLite runs the search once for each value or row of a list
        std::vector<Term> terms;  // what the table is given of it
    };
    struct Search {
        WrittenSearch written;
        std::vector<std::optional<Probed>> probes;  // by condition, when asked first
    };
    using Searches = std::vector<Search>;

    std::shared_ptr<Searches> searches_of(const TableName& name, const Schema& schema, std::string_view sql);
    // Views and triggers that the running statements use, and those that these use in turn; all, where none is found.
    Status from_stored_sql(const TableName& name, const Schema& schema, std::vector<std::shared_ptr<Searches>>& out);
    static Probed probe(const TableName& name, const Search& search, const std::string& condition);
    struct Candidate {
        sqlite3_stmt* statement = nullptr;  // nullptr: a view or trigger
        std::shared_ptr<Searches> searches;
        Search* search = nullptr;
    };
    Status read_as(const TableName& name, const Plan& plan, bool has_k, const Candidate& candidate, bool is_sure,
                   SearchReading& out, int& agreement);
    static bool put_inside(const Candidate& candidate, const WrittenCondition& condition,
                           std::optional<std::vector<std::string>>& values, std::string& out);

    std::vector<std::pair<const void*, sqlite3_stmt*>> adopted_;
    std::string table_;  // whose texts are kept
    std::map<std::string, std::shared_ptr<Searches>, std::less<>> texts_;
};

// While one of these lives, plans of this thread claim whatever they can as settled. Such plans are explained, not run.
class ProbeScope {
  public:
    ProbeScope();
    ~ProbeScope();
    ProbeScope(const ProbeScope&) = delete;
    ProbeScope& operator=(const ProbeScope&) = delete;
    static bool is_active();
};

}  // namespace vss
