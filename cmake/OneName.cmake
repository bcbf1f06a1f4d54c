# Makes every name of an object local but one, and gives a name of its own to its section of constructors:
#   cmake -DNM=... -DOBJCOPY=... -DIN=... -DOUT=... -DNAME=... -P cmake/OneName.cmake
# Unique names (STB_GNU_UNIQUE: variables inside of inline functions) cannot be made local, and get NAME before theirs.
execute_process(COMMAND ${NM} --defined-only --extern-only ${IN} OUTPUT_VARIABLE listed COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[0-9a-f]+ u [^\n]+" unique "${listed}")
list(TRANSFORM unique REPLACE "^[0-9a-f]+ u (.+)$" "\\1 ${NAME}.\\1\n")
list(JOIN unique "" renamed)
file(WRITE ${OUT}.names "${renamed}")
execute_process(COMMAND ${OBJCOPY} --keep-global-symbol=${NAME} --redefine-syms=${OUT}.names
                        --rename-section .init_array=${NAME}_init ${IN} ${OUT} COMMAND_ERROR_IS_FATAL ANY)
