// A weight memory some of whose cells are stuck: one write port, one read port with a register behind it.
//
// A 1 in stuck_at_0 marks a cell that is always read as 0, a 1 in stuck_at_1 one that is always read as 1. They start out
// healthy; a test bench loads one chip's masks before the first clock edge.
module weight_memory #(
    parameter WORDS = 16,
    parameter WORD_BITS = 8,
    parameter ADDRESS_BITS = WORDS > 1 ? $clog2(WORDS) : 1
) (
    input  logic                    clock,
    input  logic                    write_enable,
    input  logic [ADDRESS_BITS-1:0] write_address,
    input  logic [WORD_BITS-1:0]    write_data,
    input  logic [ADDRESS_BITS-1:0] read_address,
    output logic [WORD_BITS-1:0]    read_data
);
    logic [WORD_BITS-1:0] cells      [0:WORDS-1];
    logic [WORD_BITS-1:0] stuck_at_0 [0:WORDS-1];
    logic [WORD_BITS-1:0] stuck_at_1 [0:WORDS-1];

    initial begin
        for (int i = 0; i < WORDS; i++) begin
            stuck_at_0[i] = '0;
            stuck_at_1[i] = '0;
        end
    end

    always_ff @(posedge clock) begin
        if (write_enable) cells[write_address] <= write_data;
        read_data <= (cells[read_address] | stuck_at_1[read_address]) & ~stuck_at_0[read_address];
    end
endmodule
