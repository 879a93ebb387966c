// What lies between the words of a network and the cells of a chip: scrambled addresses, rotated words, inverted words.
//
// A word is read where its address, XORed with the key of its bank, leads. Its bits are inverted if the flag of its group is 1,
// and turned down by the amount of its row. Flags and amounts are cells of the memory, above the bits of each word, and come
// through its stuck cells like all others: the flag of a group is the first such bit of its first word, the bits of an amount
// are spread over the first words of its row. All come through the one read port, one word a clock: amount, flag, word.
//
// Keys start out as 0; a test bench loads one chip's.
module remapped_reader #(
    parameter WORDS = 16,
    parameter WORD_BITS = 8,
    parameter SCRAMBLE = 0,  // words of a bank; 0: addresses are not scrambled
    parameter ROTATE = 0,  // words of a row; 0: words are not rotated
    parameter AMOUNT_BITS = 1,  // bits of an amount
    parameter INVERT = 0,  // words of a group; 0: words are not inverted
    parameter SPREAD = ROTATE != 0 ? (AMOUNT_BITS + ROTATE - 1) / ROTATE : 0,
    parameter CELL_BITS = WORD_BITS + (INVERT != 0 ? 1 : 0) + SPREAD,
    parameter ADDRESS_BITS = WORDS > 1 ? $clog2(WORDS) : 1
) (
    input  logic                    clock,
    input  logic                    start,
    input  logic [ADDRESS_BITS-1:0] address,
    output logic                    done,
    output logic [WORD_BITS-1:0]    data,
    output logic [ADDRESS_BITS-1:0] read_address,
    input  logic [CELL_BITS-1:0]    read_data
);
    localparam BANK = SCRAMBLE != 0 ? SCRAMBLE : WORDS;
    localparam ROW = ROTATE != 0 ? ROTATE : 1;
    localparam GROUP = INVERT != 0 ? INVERT : 1;
    localparam AMOUNT_WORDS = ROTATE != 0 ? (AMOUNT_BITS + SPREAD - 1) / SPREAD : 0;
    localparam LAST = AMOUNT_WORDS + (INVERT != 0 ? 1 : 0);  // the step that asks for the word itself
    localparam FIRST_BIT = CELL_BITS - SPREAD;

    logic [ADDRESS_BITS-1:0] keys [0:WORDS/BANK-1];
    logic [ADDRESS_BITS-1:0] place;
    logic [AMOUNT_BITS-1:0] amount;
    logic flag;
    int step;

    initial for (int i = 0; i < WORDS / BANK; i++) keys[i] = '0;

    assign place = address ^ keys[address / BANK];
    assign read_address = step < AMOUNT_WORDS ? place - place % ROW + step : step < LAST ? place - place % GROUP : place;
    assign done = step == LAST + 1;

    // What a step asked for is there in the next one.
    always_ff @(posedge clock) begin
        if (start) begin
            step <= 0;
            amount <= '0;
            flag <= 0;
        end else if (!done) begin
            for (int bit_ = 0; bit_ < AMOUNT_BITS; bit_++)
                if (AMOUNT_WORDS != 0 && step == bit_ / (SPREAD != 0 ? SPREAD : 1) + 1)
                    amount[bit_] <= read_data[FIRST_BIT + bit_ % (SPREAD != 0 ? SPREAD : 1)];
            if (INVERT != 0 && step == LAST) flag <= read_data[WORD_BITS];
            step <= step + 1;
        end
    end

    logic [WORD_BITS-1:0] upright;
    logic [2*WORD_BITS-1:0] twice;
    assign upright = read_data[WORD_BITS-1:0] ^ {WORD_BITS{flag}};
    assign twice = {upright, upright} >> amount;
    assign data = twice[WORD_BITS-1:0];
endmodule
