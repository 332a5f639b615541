// Addresses, next hops, routes, rules and neighbours: listed at a dump. At a restore they are
// listed again, when the links are up and the kernel has made what it makes by itself: what is too
// many goes, what is missing comes.
#pragma once

#include "engine/resources/net_namespace/net_record.h"

namespace ncr::net_namespace {

enum class ObjectKind { kAddress, kNexthop, kRoute, kRule, kNeighbour };

Result<> list_objects(netlink::Socket& socket, ObjectKind kind,
                      Repeated<schema::NetObject>* objects);
Result<> make_equal(netlink::Socket& socket, ObjectKind kind,
                    const Repeated<schema::NetObject>& wanted);

// Pure. False: no object of a namespace (a route of the cache, a neighbour that was learned).
bool normalise(ObjectKind kind, schema::NetObject* object);
std::string identity(ObjectKind kind, const schema::NetObject& object);  // equal: the same object
Result<> check_objects(ObjectKind kind, const Repeated<schema::NetObject>& objects);

}  // namespace ncr::net_namespace
