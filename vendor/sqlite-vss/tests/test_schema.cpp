#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <initializer_list>

#include "storage/schema.h"

using vss::ColumnKind;
using vss::ElementType;
using vss::Metric;
using vss::Schema;
using vss::Status;

namespace {

Status parse(std::initializer_list<const char*> args, Schema& out) {
    return Schema::parse("t", {args.begin(), args.size()}, out);
}

std::string refusal(std::initializer_list<const char*> args) {
    Schema schema;
    return parse(args, schema).message();
}

}  // namespace

TEST_CASE("columns of every kind") {
    Schema schema;
    REQUIRE(parse({"a(384)", " \"my b\"(8) type=int8 metric_type=COSINE", "company text collate nocase indexed",
                   "user_id integer partition key", "+note text", "plain"},
                  schema)
                .is_ok());
    CHECK(schema.vectors().size() == 2);
    CHECK(schema.vector(0).dim == 384);
    CHECK(schema.vector(0).metric == Metric::l2);
    CHECK(schema.vector(1).name == "my b");
    CHECK(schema.vector(1).type == ElementType::int8);
    CHECK(schema.vector(1).metric == Metric::cosine);
    CHECK(schema.value(0).declared_type == "text collate nocase");
    CHECK(schema.value(0).indexed);
    CHECK(schema.value(1).kind == ColumnKind::partition);
    CHECK(schema.value(1).declared_type == "integer");
    CHECK(schema.value(2).kind == ColumnKind::auxiliary);
    CHECK(schema.value(3).declared_type.empty());
    CHECK(schema.vector_index(1) == 1);
    CHECK_FALSE(schema.vector_index(2).has_value());
    CHECK(schema.value_index(2) == 0);
}

TEST_CASE("sqlite-vss declarations") {
    Schema schema;
    REQUIRE(
        parse({"headline_embedding(384) factory=\"IVF4096,Flat,IDMap2\" metric_type=INNER_PRODUCT"}, schema).is_ok());
    CHECK(schema.vector(0).factory == "IVF4096,Flat,IDMap2");
    CHECK(schema.vector(0).metric == Metric::inner_product);
}

TEST_CASE("a column names its kind of index") {
    Schema schema;
    REQUIRE(parse({"a(8)", "b(8) index=cells", "c(8) index=FLAT metric_type=COSINE"}, schema).is_ok());
    CHECK(schema.vector(0).index.empty());
    CHECK(schema.vector(1).index == "cells");
    CHECK(schema.vector(2).index == "FLAT");
}

TEST_CASE("a bit column is compared by Hamming distance") {
    Schema schema;
    REQUIRE(parse({"a(64) type=bit"}, schema).is_ok());
    CHECK(schema.vector(0).metric == Metric::hamming);
    CHECK(refusal({"a(64) type=bit metric_type=l2"}).find("HAMMING") != std::string::npos);
    CHECK(refusal({"a(64) metric_type=hamming"}).find("bit") != std::string::npos);
}

TEST_CASE("what cannot be declared is refused in words") {
    CHECK(refusal({}).find("at least one vector column") != std::string::npos);
    CHECK(refusal({"company text"}).find("at least one vector column") != std::string::npos);
    CHECK(refusal({"a(0)"}).find("from 1 to 65536, got \"0\"") != std::string::npos);
    CHECK(refusal({"a(65537)"}).find("65537") != std::string::npos);
    CHECK(refusal({"a(99999999999999999999)"}).find("dimensions") != std::string::npos);
    CHECK(refusal({"a(-1)"}).find("-1") != std::string::npos);
    CHECK(refusal({"a(3"}).find("')'") != std::string::npos);
    CHECK(refusal({"a(3) foo=1"}).find("unknown option \"foo\"") != std::string::npos);
    CHECK(refusal({"a(3) type="}).find("no value") != std::string::npos);
    CHECK(refusal({"a(3) metric_type=MANHATTAN"})
              .ends_with("unknown metric type: MANHATTAN: table \"t\", column \"a\": expected L2, EUCLIDEAN, "
                         "INNER_PRODUCT, COSINE, L1, HAMMING, LINF, CANBERRA, BRAYCURTIS or JENSENSHANNON"));
    CHECK(refusal({"a(3)", "A(4)"}).find("declared twice") != std::string::npos);
    CHECK(refusal({"a(3)", "distance real"}).find("taken by vss0 itself") != std::string::npos);
    CHECK(refusal({"a(3)", "_slot0 text"}).find("_slot") != std::string::npos);
    CHECK(refusal({"a(3)", "note text; drop table x"}).find("expected a column type") != std::string::npos);
    CHECK(refusal({"a(3)", "+note text indexed"}).find("auxiliary") != std::string::npos);
    CHECK(refusal({"a metric_type=l2"}).find("dimensions") != std::string::npos);
    CHECK(refusal({"a float[384] distance_metric=cosine"}).find("written a(384)") != std::string::npos);
    CHECK(refusal({"\"open(3)"}).find("expected a column") != std::string::npos);
    CHECK(refusal({""}).find("expected a column") != std::string::npos);
}

TEST_CASE("identifiers and literals are quoted") {
    CHECK(vss::quote_identifier("a\"b") == "\"a\"\"b\"");
    CHECK(vss::quote_literal("a'b") == "'a''b'");
    Schema schema;
    REQUIRE(parse({"\"a\"\"b\"(3)"}, schema).is_ok());
    CHECK(schema.declaration().find("\"a\"\"b\"") != std::string::npos);
}

TEST_CASE("primary keys") {
    Schema schema;
    REQUIRE(parse({"id integer primary key", "a(3)", "kind text"}, schema).is_ok());
    CHECK(schema.rowid_column() == 0);
    CHECK_FALSE(schema.key());
    CHECK(schema.column(0).kind == ColumnKind::rowid);
    CHECK(schema.values().size() == 1);
    CHECK(schema.vector_index(1) == 0);
    REQUIRE(parse({"a(3)", "kind text", "id  TEXT collate nocase  Primary\tKey not null"}, schema).is_ok());
    CHECK_FALSE(schema.rowid_column());
    CHECK(schema.key() == 1);
    CHECK(schema.value(1).declared_type == "TEXT collate nocase");
    // Words that only contain these are a type's own.
    REQUIRE(parse({"a(3)", "x primary_keys"}, schema).is_ok());
    CHECK_FALSE(schema.key());
    CHECK(refusal({"a(3)", "x integer primary key autoincrement"}).find("autoincrement") != std::string::npos);
    CHECK(refusal({"a(3)", "x text primary key", "y text primary key"}).find("second primary key") !=
          std::string::npos);
}

TEST_CASE("the root of L2, and a scale for int8") {
    Schema schema;
    REQUIRE(parse({"a(3) metric_type=Euclidean", "b(3) type=int8 scale=12.5"}, schema).is_ok());
    CHECK(schema.vector(0).metric == Metric::l2);
    CHECK(schema.vector(0).is_root);
    CHECK(schema.vector(0).metric_name() == "EUCLIDEAN");
    CHECK(schema.vector(1).metric_name() == "L2");
    CHECK(schema.vector(1).scale == 12.5);
    for (const char* scale : {"0", "-1", "x", "1x", "inf", "nan"}) {
        const std::string text = std::string("a(3) type=int8 scale=") + scale;
        CHECK(refusal({text.c_str()}).find("scale as a number above 0") != std::string::npos);
    }
    CHECK(refusal({"a(3) scale=2"}).find("scale is for type=int8") != std::string::npos);
}

TEST_CASE("a default recall of the column's own") {
    Schema schema;
    REQUIRE(parse({"a(3) recall=0.99", "b(3) RECALL=1", "c(3)"}, schema).is_ok());
    CHECK(schema.vector(0).recall == 0.99);
    CHECK(schema.vector(1).recall == 1);
    CHECK(schema.vector(2).recall == 0);
    for (const char* recall : {"0", "-1", "1.01", "x", "0.9x", "inf", "nan"}) {
        const std::string text = std::string("a(3) recall=") + recall;
        CHECK(refusal({text.c_str()}).find("recall as a number above 0 and at most 1") != std::string::npos);
    }
}
