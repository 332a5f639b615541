// The springboard of docs/adr/0001.
#pragma once
