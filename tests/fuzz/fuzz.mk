# SPDX-License-Identifier: BSD-3-Clause
# Builds the fuzz targets with clang; `run` calls it with SRC (the tree) and, as current directory,
# the place for what is built. Not part of the ordinary build, whose compiler may be another one.
CC = clang
FLAGS = -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -pthread -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all -I$(SRC)/sdk/include -MMD -MP
HOST = -I$(SRC)/host -DPLUGINDIR='"/nowhere"' -DRUNSTATEDIR='"/nowhere"'
LIBS = -lev -lconfig -ljansson -lelf -ldl -luring

TARGETS = chain conf control hvisor-json message offload registers spec
host := $(patsubst $(SRC)/%,%,$(shell find $(SRC)/host -name '*.c'))
host := $(filter-out host/main.c host/ctl/%,$(host))
blk := $(patsubst $(SRC)/%,%,$(wildcard $(SRC)/plugins/blk/*.c $(SRC)/plugins/common/thread.c))

all: $(TARGETS)
$(TARGETS): %: tests/fuzz/%.o host.a blk.a
	$(CC) $(FLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)
# What is under test there is in a plugin.
offload: plugins/net/offload.o
tests/fuzz/offload.o: HOST += -I$(SRC)/plugins/net
host.a: $(host:.c=.o)
	rm -f $@ && ar rcs $@ $^
blk.a: $(blk:.c=.o)
	rm -f $@ && ar rcs $@ $^
host/%.o: $(SRC)/host/%.c
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -fsanitize=fuzzer-no-link $(HOST) -c -o $@ $<
plugins/%.o: $(SRC)/plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<
tests/%.o: $(SRC)/tests/%.c
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -fsanitize=fuzzer-no-link $(HOST) -c -o $@ $<
-include $(shell find . -name '*.d')
.PHONY: all
